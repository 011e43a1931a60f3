"""What ordering does: run the steps of a checkout, and settle what was left half done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sdpatterns.core.policy import Policy
from sdpatterns.errors import BulkheadFull, DeadlineExceeded
from shop.ordering.domain import (
    CANCELLED,
    CART_IN_USE,
    ORPHANED_S,
    PAID,
    PENDING,
    UNDOING,
    Checkout,
    Line,
    Order,
    discount,
    shares,
    total,
)
from shop.ordering.steps import Refused, Runner, Step, Work
from shop.ordering.store import KeyTaken, OrderStore
from shop.problems import Problem, not_found
from shop.service_client import ServiceClient

_log = logging.getLogger("shop.ordering")
_SWEEP_S = 2.0
_SWEEP_AT_ONCE = 8
_OF_CART_MAX = 50
_RECENT = 5


def once_per_client_key(client_key: str, _order_id: str) -> str:
    """What keeps a second order away: the key that the customer sent."""
    return client_key


def never() -> bool:
    """Two orders never share what is in a cart."""
    return False


class Ordering:
    """All orders.

    Keeps: no charge without an order that is paid, and no order that is paid without its charge; what is in
    a cart becomes one order, whatever keys are sent with it. What a crash or a silent provider leaves in
    between, `recover` settles, also after a restart.
    """

    def __init__(
        self,
        store: OrderStore,
        *,
        cart: ServiceClient,
        inventory: ServiceClient,
        payments: ServiceClient,
        bounded: Policy,
        now_us: Callable[[], int],
        dedupe: Callable[[str, str], str] = once_per_client_key,
        shares_cart: Callable[[], bool] = never,
        alone: bool = True,
    ) -> None:
        self._store = store
        self._cart = cart
        self._inventory = inventory
        self._payments = payments
        self._bounded = bounded
        self._now_us = now_us
        self._dedupe = dedupe
        self._alone_since_us = now_us() if alone else 0
        self._shares_cart = shares_cart
        steps = (
            Step("take", self._take, self._give_back, free=True),
            Step("reserve", self._reserve, self._release),
            Step("charge", self._charge, self._repay),
            Step("sell", self._sell, self._release),
        )
        self._runner = Runner(steps, store, now_us)

    async def place(self, client_key: str, checkout: Checkout) -> Order:
        """A paid order, or a Problem that says why there is none; once per what `dedupe` makes of the key."""
        order_id = f"ord_{secrets.token_hex(10)}"
        try:
            return await self._bounded.call(self._place, order_id, client_key, checkout)
        except BulkheadFull:
            raise Problem(503, "busy", "Too many people are checking out just now.", retry_after_s=2) from None
        except DeadlineExceeded:
            return await self._late(order_id)

    async def _late(self, order_id: str) -> Order:
        """The time was up: the order is undone, unless its last step was done in that very moment."""
        await self._runner.give_up(order_id, "too-slow")
        order = await self._store.find(order_id)
        if order is not None and order.status == PAID:
            return order
        raise Problem(503, "too-slow", "The order took too long and is being undone.", retry_after_s=5)

    async def _place(self, order_id: str, client_key: str, checkout: Checkout) -> Order:
        checkout_key = self._dedupe(client_key, order_id)
        known = await self._store.of_key(checkout_key)
        if known is not None:
            return _again(known, checkout)
        lines, currency = await self._quote(checkout.cart_id)
        keys = (checkout_key, client_key)
        off_minor = discount(lines, await self._offered(checkout.coupon)) if checkout.coupon else 0
        total_minor = total(lines) - off_minor
        order = Order(order_id, *keys, checkout.cart_id, PENDING, total_minor, currency, "", self._now_us())
        order = order._replace(coupon=checkout.coupon, discount_minor=off_minor)
        try:
            await self._store.place(order, checkout, lines, self._runner.steps[0].name)
        except KeyTaken:
            return _again(await self._store.of_key(checkout_key) or order, checkout)
        await self._runner.forward(Work(order, lines, checkout))
        _log.info("order paid", extra={"order_id": order_id, "total_minor": order.total_minor})
        if self._shares_cart():
            await self._empty_cart(order_id)
        return order._replace(status=PAID)

    async def show(self, order_id: str) -> dict[str, Any]:
        """An order with its lines and its history."""
        order = await self._known(order_id)
        lines, steps = await self._store.details(order_id)
        return {
            **summary(order),
            "reason": order.reason,
            "placed_at": _instant(order.placed_at_us),
            "coupon": order.coupon,
            "discount_minor": order.discount_minor,
            "items": [line._asdict() for line in lines],
            "history": [{"step": step.step, "state": step.state, "at": _instant(step.at_us)} for step in steps],
        }

    async def cancel(self, order_id: str) -> Order:
        """A paid order, taken back: refunded and its pieces free again, or on the way there.

        Keeps: asking again changes nothing. A 409 problem for an order that was never paid.
        """
        await self._known(order_id)
        await self._runner.start_cancel(order_id)
        order = await self._known(order_id)
        if not order.is_cancelled:
            raise Problem(409, "not-cancellable", f"An order that is {order.status} cannot be cancelled.")
        if order.status == UNDOING:
            with contextlib.suppress(Problem):  # a service is away: the sweep asks again until it is done
                await self._runner.undo(order_id, order.undone_as)
        return await self._known(order_id)

    async def _known(self, order_id: str) -> Order:
        order = await self._store.find(order_id)
        if order is None:
            raise not_found("such order")
        return order

    async def of_cart(self, cart_id: str) -> list[dict[str, Any]]:
        """The orders of a cart, newest first, and not more than a page shows."""
        orders = await self._store.of_cart(cart_id, _OF_CART_MAX)
        lines = await self._store.lines_of([order.order_id for order in orders])
        return [{**_dated(order), "items": [line._asdict() for line in lines[order.order_id]]} for order in orders]

    async def recent(self) -> list[dict[str, Any]]:
        """The last few orders, newest first."""
        return [_dated(order) for order in await self._store.recent(_RECENT)]

    async def delivery(self, order_id: str, cart_id: str) -> dict[str, Any]:
        """The e-mail and the address of an order; 404 for another cart than the one that ordered."""
        order = await self._known(order_id)
        if order.cart_id != cart_id:
            raise not_found("such order")
        return await self._store.contact(order_id)

    async def ledger(self, after: str, limit: int, since_us: int) -> list[dict[str, Any]]:
        """What is to be audited of each order."""
        return await self._store.ledger(after, limit, since_us)

    async def with_coupons(self) -> dict[str, int]:
        """How many paid orders used each coupon."""
        return await self._store.with_coupons()

    async def counts(self) -> dict[str, dict[str, int]]:
        """Number and sum of the orders in each status, and since when the first of them is in it."""
        return await self._store.counts()

    async def recover(self) -> None:
        """Settle what was left half done, for as long as the service runs."""
        while True:
            try:
                await self.sweep()
            except Exception:  # noqa: BLE001 - whatever it is, the next sweep may do better
                _log.exception("cannot settle unfinished orders; trying again")
            await asyncio.sleep(_SWEEP_S)

    async def sweep(self) -> None:
        """Go once through all unfinished orders on which no process works."""
        now_us = self._now_us()
        # An only replica works at no order from before its start; beside others such an order may be theirs.
        orphaned_us = now_us - int(ORPHANED_S * 1_000_000)
        waiting = await self._store.unfinished(max(orphaned_us, self._alone_since_us))
        room = asyncio.Semaphore(_SWEEP_AT_ONCE)

        async def settle(order: Order) -> None:
            async with room:
                with contextlib.suppress(Problem):  # a service is away: the next sweep asks again
                    await self._settle(order)

        await asyncio.gather(*(settle(order) for order in waiting))

    async def _settle(self, order: Order) -> None:
        if order.status == PENDING and not await self._complete(order.order_id):
            await self._runner.give_up(order.order_id, "interrupted")
        current = await self._known(order.order_id)
        if current.status == UNDOING and await self._runner.undo(order.order_id, current.undone_as):
            _log.info("order undone", extra={"order_id": order.order_id, "reason": current.reason})

    async def _complete(self, order_id: str) -> bool:
        """Finish an interrupted order whose money was taken: the customer may have seen no answer."""
        payment = await self._payments.ask("POST", f"/internal/payments/{order_id}/settle")
        if payment["state"] != "charged":
            return False
        try:
            await self._inventory.ask("PUT", f"/internal/reservations/{order_id}/sale")
        except Problem as problem:
            if problem.status != 409:
                raise
            return False
        if await self._runner.finish(order_id, ("charge", "done"), ("sell", "done")):
            return True
        if (await self._known(order_id)).status != PAID:  # undone by another replica, perhaps before we sold
            await self._release(order_id)
        return False

    async def _quote(self, cart_id: str) -> tuple[list[Line], str]:
        cart = await self._cart.ask("GET", f"/api/v1/carts/{cart_id}")
        if not cart["items"]:
            raise Problem(422, "cart-empty", "There is nothing in this cart.")
        lines = [Line(*(item[name] for name in Line._fields)) for item in cart["items"]]
        return lines, cart["currency"]

    async def _offered(self, code: str) -> int:
        """What a coupon takes off; a Problem for one that there is not, or that has no use left."""
        try:
            coupon = await self._payments.ask("GET", f"/internal/coupons/{code}")
        except Problem as problem:
            if problem.status != 404:
                raise
            raise Problem(422, "coupon-unknown", "There is no such coupon.") from None
        if coupon["is_spent"]:
            raise _coupon_spent()
        return int(coupon["off_minor"])

    async def _take(self, work: Work) -> None:
        order = work.order
        items = [{"sku": line.sku, "quantity": line.quantity} for line in work.lines]
        whose = {"cart_id": order.cart_id, "placed_at_us": order.placed_at_us, "shared": self._shares_cart()}
        try:
            await self._cart.ask("PUT", f"/internal/takings/{order.order_id}", body={**whose, "items": items})
        except Problem as problem:
            if problem.status != 409:
                raise
            # Not a 409 of our own, which would be kept as the answer of this key: the lines may come back.
            raise Refused(
                503,
                CART_IN_USE,
                "Another order is buying this cart, or it has changed. Look at the cart and try again.",
                retry_after_s=2,
            ) from None

    async def _give_back(self, order_id: str) -> bool:
        await self._cart.ask("DELETE", f"/internal/takings/{order_id}")
        return True

    async def _empty_cart(self, order_id: str) -> None:
        with contextlib.suppress(Problem):  # a cart that keeps its lines does no harm
            await self._cart.ask("POST", f"/internal/takings/{order_id}/bought")

    async def _reserve(self, work: Work) -> None:
        items = [{"sku": line.sku, "quantity": line.quantity} for line in work.lines]
        try:
            await self._inventory.ask("PUT", f"/internal/reservations/{work.order.order_id}", body={"items": items})
        except Problem as problem:
            if problem.status == 409:
                raise Refused(409, problem.slug, _in_words(problem, work.lines), **problem.members) from None
            raise

    async def _charge(self, work: Work) -> None:
        order = work.order
        body = {
            "amount_minor": order.total_minor,
            "card": dict(work.checkout.card),
            "shares": shares(work.lines),
            "coupon": order.coupon,
        }
        answer = await self._payments.ask("POST", f"/internal/payments/{order.order_id}/charge", body=body)
        if answer["outcome"] == "declined":
            raise Refused(402, answer["reason"], "The card was declined. Nothing was charged.")
        if answer["outcome"] == "spent":
            raise _coupon_spent()
        if answer["outcome"] == "refused":
            wait_s = answer["retry_after_s"] or 1.0
            raise Refused(
                503,
                "payment-unavailable",
                "Payments are not possible at the moment. Nothing was charged.",
                retry_after_s=wait_s,
            )
        if answer["outcome"] != "charged":
            raise Problem(
                503,
                "payment-uncertain",
                "The payment provider did not answer in time. The order is being undone; a charge would be refunded.",
                retry_after_s=15,
            )

    async def _sell(self, work: Work) -> None:
        await self._inventory.ask("PUT", f"/internal/reservations/{work.order.order_id}/sale")

    async def _release(self, order_id: str) -> bool:
        await self._inventory.ask("DELETE", f"/internal/reservations/{order_id}")
        return True

    async def _repay(self, order_id: str) -> bool:
        payment = await self._payments.ask("POST", f"/internal/payments/{order_id}/undo")
        return bool(payment["settled"])


def _coupon_spent() -> Refused:
    return Refused(409, "coupon-spent", "This coupon has been used up. Nothing was charged.")


def _in_words(refusal: Problem, lines: Sequence[Line]) -> str:
    """The inventory knows products by their sku, people by their title."""
    titles = [line.title for line in lines if line.sku == refusal.members.get("sku")]
    return f"There are not enough pieces of {titles[0]}." if titles else refusal.detail


def summary(order: Order) -> dict[str, Any]:
    """What a checkout answers."""
    return {
        "order_id": order.order_id,
        "status": order.status,
        "total_minor": order.total_minor,
        "currency": order.currency,
    }


def _dated(order: Order) -> dict[str, Any]:
    return {**summary(order), "placed_at": _instant(order.placed_at_us)}


def _again(order: Order, checkout: Checkout) -> Order:
    if order.cart_id != checkout.cart_id:
        raise Problem(422, "key-used", "This Idempotency-Key belongs to the checkout of another cart.")
    if order.status in (PAID, CANCELLED):
        return order
    # Not a 409, which would be kept as the answer of this key: the next time it may be another one.
    raise Problem(503, "order-in-flight", "This checkout is in progress.", order_id=order.order_id, retry_after_s=5)


def _instant(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds")
