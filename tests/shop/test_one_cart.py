"""What is in a cart is bought once, however many keys ask for it at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from shop.stage.control.domain import judge_baskets

from .visitor import DECLINED_CARD, PATIENCE_S, PLENTY, Visitor

pytestmark = pytest.mark.anyio


async def in_cart(visitor: Visitor, cart_id: str) -> dict[str, int]:
    cart = await visitor.get(f"/api/v1/carts/{cart_id}")
    return {item["sku"]: item["quantity"] for item in cart["items"]}


async def test_thirty_checkouts_of_one_cart_with_thirty_keys_are_one_order(shared: Visitor) -> None:
    cart_id = await shared.fill_cart(PLENTY, 2)
    before = await shared.free(PLENTY)
    answers: list[httpx.Response] = []
    placed: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while not placed:  # on a busy machine all thirty may be over their time limit: they press again
            keys = [f"tab-{number}" for number in range(30)]
            answers += await asyncio.gather(*(shared.check_out(cart_id, key=key) for key in keys))
            placed = {answer.json()["order_id"] for answer in answers if answer.status_code == 201}
    assert len(placed) == 1
    assert {answer.status_code for answer in answers} <= {201, 422, 503}
    await shared.settled()
    assert await shared.free(PLENTY) == before - 2
    assert await in_cart(shared, cart_id) == {}
    orders = (await shared.http.get("/api/v1/orders/" + placed.pop())).json()
    assert [line["quantity"] for line in orders["items"]] == [2]
    # The same key may be sent again: it gets its own answer, and no second order.
    again = await shared.check_out(cart_id, key="tab-7")
    assert again.status_code in {201, 422}
    await shared.all_holds()


async def test_a_declined_card_puts_the_lines_back(shared: Visitor) -> None:
    cart_id = await shared.fill_cart(PLENTY, 3)
    assert (await shared.check_out(cart_id, card=DECLINED_CARD)).status_code == 402
    assert await in_cart(shared, cart_id) == {PLENTY: 3}
    assert (await shared.check_out(cart_id)).status_code == 201
    assert await in_cart(shared, cart_id) == {}


async def test_a_payment_in_doubt_puts_the_lines_back_at_once(visitor: Visitor) -> None:
    cart_id = await visitor.fill_cart(PLENTY)
    await visitor.break_provider("hang")
    assert (await visitor.check_out(cart_id)).status_code == 503
    assert await in_cart(visitor, cart_id) == {PLENTY: 1}
    await visitor.heal_provider()
    assert (await visitor.check_out(cart_id)).status_code == 201
    await visitor.settled(90)
    assert await in_cart(visitor, cart_id) == {}, "what the first order gave back is not given back twice"
    await visitor.all_holds()


async def test_lines_added_during_a_payment_stay_and_returned_lines_join_them(visitor: Visitor) -> None:
    cart_id = await visitor.fill_cart(PLENTY, 2)
    await visitor.break_provider("hang")
    ordering = asyncio.create_task(visitor.check_out(cart_id))
    async with asyncio.timeout(30):
        while await in_cart(visitor, cart_id):  # noqa: ASYNC110 - until the order has taken them
            await asyncio.sleep(0.02)
    for sku in (PLENTY, "SP-00041"):
        await visitor.http.put(f"/api/v1/carts/{cart_id}/items/{sku}", json={"quantity": 1})
    assert (await ordering).status_code == 503
    assert await in_cart(visitor, cart_id) == {PLENTY: 3, "SP-00041": 1}


async def test_a_cancelled_order_does_not_fill_the_cart_again(shared: Visitor) -> None:
    cart_id = await shared.fill_cart(PLENTY)
    order = (await shared.check_out(cart_id)).json()
    assert (await shared.http.post(f"/api/v1/orders/{order['order_id']}/cancel")).status_code in {200, 202}
    await shared.settled()
    assert await in_cart(shared, cart_id) == {}
    await shared.all_holds()


@pytest.mark.nightly
async def test_without_the_defence_the_invariant_shows_the_cart_that_was_bought_again(visitor: Visitor) -> None:
    await visitor.http.put("/control/api/switches/idempotency", json={"on": False})
    cart_id = await visitor.fill_cart(PLENTY)
    placed: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(placed) < 2:  # on a busy machine most of the eight may be over their time limit
            answers = await asyncio.gather(*(visitor.check_out(cart_id) for _ in range(8)))
            placed += [answer.json()["order_id"] for answer in answers if answer.status_code == 201]
    verdicts = await visitor.get("/control/api/invariants")
    assert [name for name, verdict in verdicts.items() if not verdict["holds"]] == ["carts_bought_once"]
    # All eight may be paid, and only a few of them are named.
    assert any(order_id in verdicts["carts_bought_once"]["detail"] for order_id in placed)
    for order_id in placed[1:]:
        await visitor.http.post(f"/api/v1/orders/{order_id}/cancel")
    await visitor.settled()
    await visitor.all_holds()


def test_judge_baskets_finds_carts_bought_twice_and_orders_without_a_cart() -> None:
    def orders(**statuses: str) -> dict[str, dict[str, Any]]:
        return {name: {"status": status, "placed_at_us": 5} for name, status in statuses.items()}

    audit: dict[str, Any] = {"takings": 2, "since_us": 5, "shared": []}
    assert judge_baskets(audit, orders(a="paid", b="paid")).holds
    assert not judge_baskets(audit, orders(a="paid", b="paid", c="paid")).holds
    assert not judge_baskets({**audit, "shared": [["a", "b"]]}, orders(a="paid", b="paid")).holds
    assert judge_baskets({**audit, "shared": [["a", "b"]]}, orders(a="paid", b="failed")).holds
    assert judge_baskets({"takings": 0, "since_us": None, "shared": []}, orders(a="paid")).holds, "older than the book"
