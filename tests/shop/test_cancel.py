"""An order that is cancelled: the money back, the pieces back, once, whatever dies on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdpatterns.messaging.saga.journal import RunStarted
from shop.ordering.domain import BY_CUSTOMER

from .left_behind import Desk
from .visitor import DECLINED_CARD, DROP, PATIENCE_S, PLENTY, Visitor, checkout_body, new_name

pytestmark = pytest.mark.anyio

CARRIER_AWAY = {"target": "carrier", "kind": "fail", "percent": 100, "ttl_s": 600, "seed": 1}


async def cancel(visitor: Visitor, order_id: str) -> httpx.Response:
    return await visitor.http.post(f"/api/v1/orders/{order_id}/cancel")


async def bought(visitor: Visitor, sku: str = DROP, quantity: int = 4) -> dict[str, Any]:
    response = await visitor.buy(sku, quantity)
    assert response.status_code == 201
    order: dict[str, Any] = response.json()
    return order


async def is_undone(visitor: Visitor, order: dict[str, Any]) -> None:
    assert (await visitor.get(f"/api/v1/orders/{order['order_id']}"))["status"] == "cancelled"
    (charge,) = await visitor.charges(order["order_id"])
    assert charge["amount_minor"] == charge["refunded_minor"] == order["total_minor"]
    assert await visitor.free(DROP) == 10
    await visitor.all_holds()


async def test_a_cancelled_order_is_refunded_and_its_pieces_are_free_again(visitor: Visitor) -> None:
    order = await bought(visitor)
    assert await visitor.free(DROP) == 6
    response = await cancel(visitor, order["order_id"])
    assert (response.status_code, response.json()) == (200, {**order, "status": "cancelled"})
    await is_undone(visitor, order)
    shown = await visitor.get(f"/api/v1/orders/{order['order_id']}")
    assert [(step["step"], step["state"]) for step in shown["history"]][-2:] == [
        ("cancel", "begun"),
        ("cancel", "done"),
    ]


async def test_asking_again_changes_nothing(visitor: Visitor) -> None:
    order = await bought(visitor)
    answers = await asyncio.gather(*(cancel(visitor, order["order_id"]) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    await visitor.settled()
    first = await cancel(visitor, order["order_id"])
    again = await cancel(visitor, order["order_id"])
    assert (first.status_code, first.content) == (again.status_code, again.content) == (200, first.content)
    await is_undone(visitor, order)


async def test_an_order_that_was_never_paid_cannot_be_cancelled(visitor: Visitor) -> None:
    assert (await visitor.buy(card=DECLINED_CARD)).status_code == 402
    await visitor.settled()
    async with httpx.AsyncClient(base_url=visitor.settings.address("ordering")) as ordering:
        (row,) = (await ordering.get("/internal/ledger")).json()["orders"]
    response = await cancel(visitor, row["order_id"])
    assert (response.status_code, response.json()["type"]) == (409, "/problems/not-cancellable")
    assert response.headers["content-type"] == "application/problem+json"
    assert (await cancel(visitor, "ord_nobody")).status_code == 404


async def test_a_refund_waits_while_the_provider_is_away_and_is_made_later(visitor: Visitor) -> None:
    order = await bought(visitor)
    await visitor.break_provider("fail", seed=3)
    response = await cancel(visitor, order["order_id"])
    assert (response.status_code, response.json()["status"]) == (202, "undoing")
    await visitor.all_holds()
    await visitor.heal_provider()
    assert await visitor.settled() == {"cancelled": 1}
    await is_undone(visitor, order)


async def test_an_order_that_crashed_after_its_decision_is_finished_by_the_next_start(
    opening: Callable[[], AbstractAsyncContextManager[Visitor]],
) -> None:
    async with opening() as visitor:
        order = await bought(visitor)
        data_dir, order_id = visitor.settings.data_dir, order["order_id"]
    async with Desk.opened(
        data_dir, visitor.shift.now_us
    ) as desk:  # as a process leaves it that dies before the refund
        begun = desk.started(f"{order_id}-cancel", RunStarted("cancel_order", 1, {"order_id": order_id}, {}, []))
        assert (await desk.orders.take_back(order_id, BY_CUSTOMER, begun)).status == "undoing"
    async with opening() as visitor:
        assert await visitor.settled() == {"cancelled": 1}
        await is_undone(visitor, order)


async def test_an_order_that_was_sent_comes_back_and_is_refunded(visitor: Visitor) -> None:
    await visitor.http.put("/control/api/fault", json=CARRIER_AWAY)
    order = await bought(visitor)
    path = f"/api/v1/orders/{order['order_id']}"
    early = await visitor.http.post(f"{path}/return")
    assert (early.status_code, early.json()["type"]) == (409, "/problems/not-sent")
    await visitor.heal_provider()
    followed = f"{visitor.settings.address('fulfilment')}/internal/orders/{order['order_id']}/followed"
    async with asyncio.timeout(PATIENCE_S):
        while (await visitor.get(followed))["shipment"] is None:  # noqa: ASYNC110 - the carrier is asked again
            await asyncio.sleep(0.2)
    answers = [await visitor.http.post(f"{path}/return") for _ in range(2)]
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert await visitor.settled() == {"cancelled": 1}
    assert (await visitor.get(path))["reason"] == "returned-by-customer"
    back = await visitor.get(followed)
    assert back["return"]["detail"] == back["shipment"]["detail"]
    await is_undone(visitor, order)


async def test_an_old_order_that_is_being_cancelled_is_not_stuck(visitor: Visitor) -> None:
    order = await bought(visitor)
    visitor.shift.ahead_s = 3_600.0
    await visitor.break_provider("fail", seed=3)
    assert (await cancel(visitor, order["order_id"])).status_code == 202
    await visitor.all_holds()


def forget_answers(data_dir: Path) -> None:
    for file in data_dir.glob("ordering-keys.sqlite3*"):
        file.unlink()


async def test_the_key_of_a_cancelled_order_buys_nothing_new(
    opening: Callable[[], AbstractAsyncContextManager[Visitor]], data_dir: Path
) -> None:
    async with opening() as visitor:
        cart_id = await visitor.fill_cart(DROP)
        order = (await visitor.check_out(cart_id, key="mine")).json()
        await cancel(visitor, order["order_id"])
    forget_answers(data_dir)  # and the order itself remembers
    async with opening() as visitor:
        await visitor.http.put(f"/api/v1/carts/{cart_id}/items/{DROP}", json={"quantity": 1})
        again = await visitor.check_out(cart_id, key="mine")
        assert (again.status_code, again.json()) == (201, {**order, "status": "cancelled"})
        await is_undone(visitor, order)


async def test_the_orders_of_a_cart_come_newest_first(shared: Visitor) -> None:
    cart_id = new_name("regular")
    expected = []
    for quantity in (1, 2):
        await shared.http.put(f"/api/v1/carts/{cart_id}/items/{PLENTY}", json={"quantity": quantity})
        expected.insert(0, (await shared.check_out(cart_id)).json())
    await bought(shared, PLENTY, 1)
    async with httpx.AsyncClient(base_url=shared.settings.address("ordering")) as ordering:
        listed = (await ordering.get("/internal/orders", params={"cart_id": cart_id})).json()["orders"]
        assert (await ordering.get("/internal/orders")).status_code == 422
    assert all(order.pop("placed_at").startswith("20") for order in listed)
    assert [order.pop("items")[0]["quantity"] for order in listed] == [2, 1]
    assert listed == expected


async def test_the_ledger_has_the_figures_that_the_checks_need(visitor: Visitor) -> None:
    before_us = visitor.shift.now_us()
    await visitor.check_out(await visitor.fill_cart(), key="paying")
    await visitor.check_out(await visitor.fill_cart(), key="declined", card=DECLINED_CARD)
    await visitor.settled()
    async with httpx.AsyncClient(base_url=visitor.settings.address("ordering")) as ordering:
        rows = (await ordering.get("/internal/ledger")).json()["orders"]
    by_key = {row["client_key"]: row for row in rows}
    assert by_key.keys() == {"paying", "declined"}
    assert (by_key["paying"]["status"], by_key["paying"]["reason"]) == ("paid", "")
    assert (by_key["declined"]["status"], by_key["declined"]["reason"]) == ("failed", "card-declined")
    for row in rows:
        assert before_us <= row["placed_at_us"] < row["decided_at_us"] <= visitor.shift.now_us()


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "bare"}, {"Idempotency-Key": '""'}])
async def test_a_checkout_without_a_valid_key_is_refused(shared: Visitor, headers: dict[str, str]) -> None:
    response = await shared.http.post("/api/v1/checkout", json=checkout_body("c"), headers=headers)
    assert response.status_code == 400
