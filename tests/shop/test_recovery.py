"""Orders whose process died: finished when the money was taken, undone when it was not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from shop.database import Database
from shop.ordering.domain import ORPHANED_S, PENDING, Line, Order, parse_checkout
from shop.ordering.store import SCHEMA, OrderStore
from shop.payments.domain import DOUBT_S

from .visitor import DROP, PATIENCE_S, Visitor, checkout_body

pytestmark = pytest.mark.anyio

ORDER_ID = "ord_orphan"
PIECES, PRICE_MINOR = 3, 500
SHARES = {"Iversen": PIECES * PRICE_MINOR}


@asynccontextmanager
async def service_client(visitor: Visitor, name: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=visitor.settings.address(name)) as http:
        yield http


async def place_order(visitor: Visitor) -> None:
    """Leave an order as a process does that dies right after writing it down."""
    order = Order(ORDER_ID, "key", "key", "cart", PENDING, PIECES * PRICE_MINOR, "EUR", "", visitor.shift.now_us())
    async with Database.opened(visitor.settings.data_dir / "ordering.sqlite3", SCHEMA) as database:
        lines = [Line(DROP, "a drop", "Iversen", PIECES, PRICE_MINOR)]
        await OrderStore(database).place(order, parse_checkout(checkout_body("cart"), (2026, 1)), lines, "reserve")


async def reserve(visitor: Visitor) -> None:
    async with service_client(visitor, "inventory") as inventory:
        body = {"items": [{"sku": DROP, "quantity": PIECES}]}
        assert (await inventory.put(f"/internal/reservations/{ORDER_ID}", json=body)).status_code == 204


async def charge(visitor: Visitor) -> None:
    async with service_client(visitor, "payments") as payments:
        body = {"amount_minor": PIECES * PRICE_MINOR, "card": checkout_body("cart")["card"], "shares": SHARES}
        outcome = "unknown"
        async with asyncio.timeout(PATIENCE_S):
            while outcome == "unknown":  # the provider did not answer in time; the order is charged once all the same
                answer = await payments.post(f"/internal/payments/{ORDER_ID}/charge", json=body)
                outcome = answer.json()["outcome"]
        assert outcome == "charged"


async def outcome(visitor: Visitor, ahead_s: float) -> dict[str, Any]:
    visitor.shift.ahead_s = ahead_s
    await visitor.settled()
    await visitor.all_holds()
    order: dict[str, Any] = await visitor.get(f"/api/v1/orders/{ORDER_ID}")
    return order


async def test_an_interrupted_order_is_finished_when_it_was_charged(visitor: Visitor) -> None:
    await place_order(visitor)
    await reserve(visitor)
    await charge(visitor)
    order = await outcome(visitor, ORPHANED_S + 1)
    assert order["status"] == "paid"
    assert await visitor.free(DROP) == 10 - PIECES
    (line,) = await visitor.charges(ORDER_ID)
    assert line["refunded_minor"] == 0


async def test_a_charged_order_is_finished_when_its_released_pieces_are_still_free(visitor: Visitor) -> None:
    await place_order(visitor)
    await reserve(visitor)
    await charge(visitor)
    async with service_client(visitor, "inventory") as inventory:
        await inventory.delete(f"/internal/reservations/{ORDER_ID}")
    assert (await outcome(visitor, ORPHANED_S + 1))["status"] == "paid"
    assert await visitor.free(DROP) == 10 - PIECES


async def test_a_charged_order_is_refunded_when_its_pieces_are_gone(visitor: Visitor) -> None:
    await place_order(visitor)
    await reserve(visitor)
    await charge(visitor)
    async with service_client(visitor, "inventory") as inventory:
        await inventory.delete(f"/internal/reservations/{ORDER_ID}")
    assert (await visitor.buy(DROP, 8)).status_code == 201
    assert (await outcome(visitor, ORPHANED_S + 1))["status"] == "failed"
    (line,) = await visitor.charges(ORDER_ID)
    assert line["refunded_minor"] == line["amount_minor"]


async def test_an_interrupted_order_is_undone_when_it_was_not_charged(visitor: Visitor) -> None:
    await place_order(visitor)
    await reserve(visitor)
    order = await outcome(visitor, DOUBT_S + 1)
    assert (order["status"], order["reason"]) == ("failed", "interrupted")
    assert await visitor.free(DROP) == 10
    assert await visitor.charges(ORDER_ID) == []


async def test_a_charge_that_was_still_on_its_way_is_refused_afterwards(visitor: Visitor) -> None:
    await place_order(visitor)
    assert (await outcome(visitor, DOUBT_S + 1))["status"] == "failed"
    async with service_client(visitor, "payments") as payments:
        body = {"amount_minor": 1, "card": checkout_body("cart")["card"], "shares": SHARES}
        answer = await payments.post(f"/internal/payments/{ORDER_ID}/charge", json=body)
    assert answer.json()["outcome"] == "refused"
    assert await visitor.charges(ORDER_ID) == []


async def test_its_key_does_not_buy_another_cart(visitor: Visitor) -> None:
    await place_order(visitor)
    await reserve(visitor)
    await charge(visitor)
    assert (await outcome(visitor, ORPHANED_S + 1))["status"] == "paid"
    answer = await visitor.check_out(await visitor.fill_cart(), key="key")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/key-used")
