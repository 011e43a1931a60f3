"""The provider's failures: no charge without an order, and no order without its charge or its undo."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest

from shop.inventory.domain import RESERVATION_S
from shop.payments.domain import DOUBT_S

from .visitor import DROP, PATIENCE_S, PLENTY, Visitor

pytestmark = pytest.mark.anyio

ANSWERED_WITHIN_S = 40.0  # the deadline of a checkout is 5 s, and what hangs here hangs for a minute


async def net_charged(visitor: Visitor, order_id: str) -> int:
    return sum(line["amount_minor"] - line["refunded_minor"] for line in await visitor.charges(order_id))


def assert_unavailable(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("kind", [pytest.param("fail", marks=pytest.mark.nightly), "hang"])
async def test_a_provider_that_breaks_leaves_no_charge_behind(visitor: Visitor, kind: str) -> None:
    await visitor.break_provider(kind, seed=3)
    began = time.monotonic()
    responses = await asyncio.gather(*(visitor.buy(DROP) for _ in range(6)))
    assert time.monotonic() - began < ANSWERED_WITHIN_S
    for response in responses:
        assert_unavailable(response)
    await visitor.all_holds()  # orders in flight are judged fairly

    await visitor.heal_provider()
    visitor.shift.ahead_s = DOUBT_S + 1
    assert await visitor.settled() == {"failed": 6}
    await visitor.all_holds()
    assert await visitor.free(DROP) == 10
    assert (await visitor.buy(DROP)).status_code == 201


async def test_some_of_the_failed_calls_had_charged_and_are_refunded(visitor: Visitor) -> None:
    await visitor.break_provider("fail", seed=1)
    responses = [await visitor.buy() for _ in range(3)]
    await visitor.heal_provider()
    visitor.shift.ahead_s = DOUBT_S + 1
    await visitor.settled()
    async with httpx.AsyncClient(base_url=visitor.settings.address("psp")) as http:
        book = (await http.get("/psp/v1/ledger")).json()["orders"]
    assert book, "the fault never charged before failing, so this test tested nothing"
    assert all(row["amount_minor"] == row["refunded_minor"] for row in book)
    assert {response.status_code for response in responses} == {503}


async def test_a_charge_that_comes_late_is_refunded(visitor: Visitor) -> None:
    await visitor.break_provider("late")
    assert_unavailable(await visitor.buy(DROP))
    await visitor.heal_provider()
    book = f"{visitor.settings.address('psp')}/psp/v1/ledger"
    async with asyncio.timeout(PATIENCE_S):
        while not (await visitor.get(book))["orders"]:  # noqa: ASYNC110 - it charges long after we hung up
            await asyncio.sleep(0.1)
    assert await visitor.settled() == {"failed": 1}
    (row,) = (await visitor.get(book))["orders"]
    assert row["charges"] == 1
    assert row["refunded_minor"] == row["amount_minor"] > 0
    await visitor.all_holds()


async def test_a_provider_that_does_everything_twice_charges_once(visitor: Visitor) -> None:
    await visitor.break_provider("twice")
    carts = [await visitor.fill_cart() for _ in range(5)]
    responses = await asyncio.gather(*(visitor.check_out_in_the_end(cart) for cart in carts))
    for response in responses:
        assert response.status_code == 201
        order = response.json()
        assert len(await visitor.charges(order["order_id"])) == 1
        assert await net_charged(visitor, order["order_id"]) == order["total_minor"]
    await visitor.all_holds()


async def test_a_slow_provider_is_given_up_in_time(visitor: Visitor) -> None:
    await visitor.break_provider("slow")
    began = time.monotonic()
    response = await visitor.buy()
    assert time.monotonic() - began < ANSWERED_WITHIN_S
    assert_unavailable(response)
    await visitor.heal_provider()
    await visitor.settled()
    await visitor.all_holds()


async def test_the_breaker_opens_and_closes_without_a_restart(visitor: Visitor) -> None:
    await visitor.break_provider("fail", ttl_s=600)
    while (await visitor.buy()).json()["type"] != "/problems/payment-unavailable":
        pass
    assert (await visitor.state())["breaker"]["state"] == "open"
    began = time.monotonic()
    assert_unavailable(await visitor.buy())
    assert time.monotonic() - began < 40.0, "an open breaker does not wait for the provider"
    page = await visitor.http.get("/products")
    assert page.status_code == 200

    await visitor.heal_provider()
    async with asyncio.timeout(120):
        while (await visitor.buy()).status_code != 201:  # noqa: ASYNC110 - the customer stands outside
            await asyncio.sleep(0.2)  # a customer who tries again
    visitor.shift.ahead_s = DOUBT_S + 1
    await visitor.settled()
    await visitor.all_holds()


async def test_a_fault_ends_by_itself(visitor: Visitor) -> None:
    began_s = time.monotonic()
    await visitor.break_provider("fail", ttl_s=2)
    fault = (await visitor.state())["fault"]
    assert (fault is not None and fault["kind"] == "fail") or time.monotonic() - began_s > 2.0
    async with asyncio.timeout(120):
        while (await visitor.state())["fault"] is not None:  # noqa: ASYNC110 - the test watches from outside
            await asyncio.sleep(0.2)
    assert (await visitor.buy()).status_code == 201


@pytest.mark.long  # each of them is met alone by a test of its own
async def test_several_faults_at_once_under_load(visitor: Visitor) -> None:
    answers: Counter[int] = Counter()
    for kind in ("fail", "twice", "hang", "slow", "late"):
        await visitor.break_provider(kind, percent=40, seed=7)
        responses = await asyncio.gather(*(visitor.buy(PLENTY) for _ in range(12)))
        answers.update(response.status_code for response in responses)
        await visitor.all_holds()
    await visitor.heal_provider()
    await asyncio.sleep(5)  # until the last late charge is in the book
    visitor.shift.ahead_s = DOUBT_S + 1
    ended = await visitor.settled()
    assert ended["paid"] == answers[201]
    assert set(answers) == {201, 503}
    await visitor.all_holds()


async def test_an_uncertain_payment_is_settled_after_a_restart(
    opening: Callable[[], AbstractAsyncContextManager[Visitor]],
) -> None:
    async with opening() as visitor:
        await visitor.break_provider("hang", seed=3, ttl_s=600)
        responses = [await visitor.buy(DROP) for _ in range(2)]
        assert {response.status_code for response in responses} == {503}
    async with opening() as visitor:  # the fault lived in the provider's memory: it is well again
        visitor.shift.ahead_s = DOUBT_S + 1
        assert await visitor.settled() == {"failed": 2}
        assert await visitor.free(DROP) == 10
        await visitor.all_holds()


async def test_an_abandoned_reservation_expires(visitor: Visitor) -> None:
    async with httpx.AsyncClient(base_url=visitor.settings.address("inventory")) as inventory:
        body = {"items": [{"sku": DROP, "quantity": 4}]}
        assert (await inventory.put("/internal/reservations/forgotten", json=body)).status_code == 204
    assert await visitor.free(DROP) == 6
    visitor.shift.ahead_s = RESERVATION_S + 1
    async with asyncio.timeout(120):
        while await visitor.free(DROP) != 10:  # noqa: ASYNC110 - the customer stands outside
            await asyncio.sleep(0.1)
    await visitor.all_holds()
