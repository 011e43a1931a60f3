"""Orders whose process died: finished when the money was taken, undone when it was not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from sdpatterns.messaging.saga.journal import CancelRequested, Entry, RunStarted, StepBegan, StepDone
from shop.ordering.calls import Purchase
from shop.ordering.domain import Line, OrderPlaced, items, parse_checkout

from .left_behind import Desk
from .visitor import DROP, PATIENCE_S, Visitor, checkout_body

pytestmark = pytest.mark.anyio

ORDER_ID = "ord_orphan"
PIECES, PRICE_MINOR = 3, 500
SHARES = {"Iversen": PIECES * PRICE_MINOR}


@asynccontextmanager
async def service_client(visitor: Visitor, name: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=visitor.settings.address(name)) as http:
        yield http


async def place_order(visitor: Visitor, *journal: Entry) -> None:
    """Leave an order as a process does that dies while it charges, or earlier; its card is forgotten by then."""
    line, total_minor, now_us = (
        Line(DROP, "a drop", "Iversen", PIECES, PRICE_MINOR),
        PIECES * PRICE_MINOR,
        visitor.shift.now_us(),
    )
    placed = OrderPlaced(ORDER_ID, "key", "cart", (line,), total_minor, "EUR", now_us)
    purchase = Purchase(
        order_id=ORDER_ID, cart_id="cart", placed_at_us=now_us, lines=items([line]), total_minor=total_minor,
        coupon="", shared=False,
    )  # fmt: skip
    done = [entry for name in ("take", "reserve") for entry in (StepBegan(name, "step"), StepDone(name, {}))]
    async with Desk.opened(visitor.settings.data_dir, visitor.shift.now_us) as desk:
        began = RunStarted("place_order", 1, {"purchase": dict(purchase), "card": "1-forgotten"}, {}, [])
        start = desk.started(ORDER_ID, began, *(journal or (*done, StepBegan("charge", "step"))))
        await desk.orders.place(placed, "key", parse_checkout(checkout_body("cart"), (2026, 1)), start)


async def reserve(visitor: Visitor) -> None:
    async with service_client(visitor, "inventory") as inventory:
        body = {"items": [{"sku": DROP, "quantity": PIECES}]}
        assert (await inventory.put(f"/internal/reservations/{ORDER_ID}", json=body)).status_code == 204


async def card(payments: httpx.AsyncClient) -> str:
    kept = await payments.post("/internal/cards", json={"card": checkout_body("cart")["card"]})
    return str(kept.json()["token"])


async def charge(visitor: Visitor) -> None:
    async with service_client(visitor, "payments") as payments:
        body = {"amount_minor": PIECES * PRICE_MINOR, "card": await card(payments), "shares": SHARES}
        outcome = "unknown"
        async with asyncio.timeout(PATIENCE_S):
            while outcome == "unknown":  # the provider did not answer in time; the order is charged once all the same
                answer = await payments.post(f"/internal/payments/{ORDER_ID}/charge", json=body)
                outcome = answer.json()["outcome"]
        assert outcome == "charged"


async def outcome(visitor: Visitor) -> dict[str, Any]:
    await visitor.settled()
    await visitor.all_holds()
    order: dict[str, Any] = await visitor.get(f"/api/v1/orders/{ORDER_ID}")
    return order


async def test_an_interrupted_order_is_finished_when_it_was_charged(visitor: Visitor) -> None:
    await reserve(visitor)
    await charge(visitor)
    await place_order(visitor)
    order = await outcome(visitor)
    assert order["status"] == "paid"
    assert await visitor.free(DROP) == 10 - PIECES
    (line,) = await visitor.charges(ORDER_ID)
    assert line["refunded_minor"] == 0


async def test_a_charged_order_is_finished_when_its_released_pieces_are_still_free(visitor: Visitor) -> None:
    await reserve(visitor)
    await charge(visitor)
    async with service_client(visitor, "inventory") as inventory:
        await inventory.delete(f"/internal/reservations/{ORDER_ID}")
    await place_order(visitor)
    assert (await outcome(visitor))["status"] == "paid"
    assert await visitor.free(DROP) == 10 - PIECES


async def test_a_charged_order_is_refunded_when_its_pieces_are_gone(visitor: Visitor) -> None:
    await reserve(visitor)
    await charge(visitor)
    async with service_client(visitor, "inventory") as inventory:
        await inventory.delete(f"/internal/reservations/{ORDER_ID}")
    assert (await visitor.check_out_in_the_end(await visitor.fill_cart(DROP, 8))).status_code == 201
    await place_order(visitor)
    order = await outcome(visitor)
    assert (order["status"], order["reason"]) == ("failed", "reservation-gone")
    (line,) = await visitor.charges(ORDER_ID)
    assert line["refunded_minor"] == line["amount_minor"]


async def test_an_interrupted_order_is_undone_when_it_was_not_charged(visitor: Visitor) -> None:
    await reserve(visitor)
    await place_order(visitor)
    order = await outcome(visitor)
    assert (order["status"], order["reason"]) == ("failed", "interrupted")
    assert await visitor.free(DROP) == 10
    assert await visitor.charges(ORDER_ID) == []


@pytest.mark.parametrize("has_begun", [False, True])
async def test_an_order_that_an_operator_cancels_is_closed_however_early(visitor: Visitor, has_begun: bool) -> None:
    begun = [StepBegan("take", "step"), StepDone("take", {})] if has_begun else []
    await place_order(visitor, *begun, CancelRequested("by an operator"))
    order = await outcome(visitor)
    assert (order["status"], order["reason"]) == ("failed", "interrupted")
    assert await visitor.charges(ORDER_ID) == []


async def test_a_charge_that_was_still_on_its_way_is_refused_afterwards(visitor: Visitor) -> None:
    await place_order(visitor)
    assert (await outcome(visitor))["status"] == "failed"
    async with service_client(visitor, "payments") as payments:
        body = {"amount_minor": 1, "card": await card(payments), "shares": SHARES}
        answer = await payments.post(f"/internal/payments/{ORDER_ID}/charge", json=body)
    assert answer.json()["outcome"] == "refused"
    assert await visitor.charges(ORDER_ID) == []


async def test_its_key_does_not_buy_another_cart(visitor: Visitor) -> None:
    await reserve(visitor)
    await charge(visitor)
    await place_order(visitor)
    assert (await outcome(visitor))["status"] == "paid"
    answer = await visitor.check_out(await visitor.fill_cart(), key="key")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/key-used")
