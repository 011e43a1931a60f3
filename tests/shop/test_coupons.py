"""Coupons with a budget: at checkout, given back, and never used more often than they may be."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from .visitor import DECLINED_CARD, PATIENCE_S, Visitor, checkout_body, new_name, told_pause

pytestmark = pytest.mark.anyio

OFF_MINOR = 300


async def issue(visitor: Visitor, uses: int) -> str:
    code = new_name("coupon")
    coupon = {"code": code, "uses": uses, "off_minor": OFF_MINOR}
    assert (await visitor.http.post("/control/api/coupons", json=coupon)).status_code == 201
    return code


async def check_out(visitor: Visitor, code: str, card: str = checkout_body("")["card"]["number"]) -> httpx.Response:
    """The answer that is no 503 to a checkout with a coupon."""
    body = checkout_body(await visitor.fill_cart("SP-00053"), card=card) | {"coupon": code}
    key = {"Idempotency-Key": f'"{new_name("key")}"'}
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await visitor.http.post("/api/v1/checkout", json=body, headers=key)).status_code == 503:
            await told_pause(answer)
    return answer


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


async def test_a_coupon_is_taken_off_once_and_comes_back_with_the_order(visitor: Visitor) -> None:
    full_minor = (await visitor.check_out_in_the_end(await visitor.fill_cart("SP-00053"))).json()["total_minor"]
    code = await issue(visitor, 1)
    assert problem(await check_out(visitor, code, DECLINED_CARD))[0] == 402, "and the coupon is not used"
    answer = await check_out(visitor, code)
    assert answer.status_code == 201, answer.text
    assert answer.json()["total_minor"] == full_minor - OFF_MINOR
    order = await visitor.get(f"/api/v1/orders/{answer.json()['order_id']}")
    assert (order["coupon"], order["discount_minor"]) == (code, OFF_MINOR)
    assert [line["amount_minor"] for line in await visitor.charges(order["order_id"])] == [full_minor - OFF_MINOR]
    assert problem(await check_out(visitor, code)) == (409, "coupon-spent")
    assert problem(await check_out(visitor, "no-such-coupon")) == (422, "coupon-unknown")
    assert (await visitor.http.post(f"/api/v1/orders/{order['order_id']}/cancel")).status_code == 200
    assert (await check_out(visitor, code)).status_code == 201
    await visitor.all_holds()


async def test_many_customers_use_a_coupon_as_often_as_it_may_be_used(visitor: Visitor) -> None:
    code = await issue(visitor, 3)
    answers = await asyncio.gather(*(check_out(visitor, code) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    await visitor.all_holds()


async def frozen_rush(visitor: Visitor) -> dict[str, Any]:
    """Two customers and a coupon with one use, whose holders freeze before they use it; gives the card of fencing."""
    code = await issue(visitor, 1)
    fault = {"target": "payments", "kind": "pause", "percent": 100, "ttl_s": 8, "seed": 1}
    assert (await visitor.http.put("/control/api/fault", json=fault)).status_code == 200
    answers = await asyncio.gather(*(check_out(visitor, code) for _ in range(2)))
    assert 201 in {answer.status_code for answer in answers}
    assert (await visitor.http.delete("/control/api/fault")).status_code == 200
    await visitor.settled()
    fencing: dict[str, Any] = (await visitor.state())["defences"]["fencing"]
    return fencing


async def switch(visitor: Visitor, *, on: bool) -> None:
    assert (await visitor.http.put("/control/api/switches/fencing", json={"on": on})).status_code == 200


@pytest.mark.nightly
async def test_a_holder_that_comes_back_late_uses_no_coupon_except_without_fencing(visitor: Visitor) -> None:
    await switch(visitor, on=False)
    async with asyncio.timeout(PATIENCE_S):
        while (await frozen_rush(visitor))["harm"]["count"] == 0:  # on a busy machine a checkout may be given up
            pass
    verdicts = await visitor.get("/control/api/invariants")
    assert [name for name, verdict in verdicts.items() if not verdict["holds"]] == ["coupons_within_budget"]
    await switch(visitor, on=True)
    assert (await frozen_rush(visitor))["harm"]["count"] == 0
    verdicts = await visitor.get("/control/api/invariants")
    assert [name for name, verdict in verdicts.items() if not verdict["holds"]] == ["coupons_within_budget"], (
        "of before"
    )
