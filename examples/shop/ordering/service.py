"""What ordering does: begin the saga of a checkout and wait for its answer, cancel, and show."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from sdpatterns import EventStore, Projection
from sdpatterns.core.policy import Policy
from sdpatterns.errors import BulkheadFull, DeadlineExceeded, SagaUndone
from sdpatterns.messaging.eventstore.events import SCHEMA_VERSION
from sdpatterns.messaging.saga import Saga, SagaHandle
from shop.background import Unbroken, together
from shop.ordering.calls import Calls, Purchase
from shop.ordering.domain import (
    BY_CUSTOMER,
    BY_RETURN,
    CANCELLED,
    CHECKOUT_S,
    PAID,
    UNDOING,
    Checkout,
    Order,
    OrderPlaced,
    discount,
    items,
    total,
)
from shop.ordering.events import ORDERS
from shop.ordering.history import history_of
from shop.ordering.orders import KeyTaken, Orders
from shop.ordering.sagas import OrderRefused, OrderSagas
from shop.ordering.store import OrderView
from shop.problems import Problem, not_found

_log = logging.getLogger("shop.ordering")
_OF_CART_MAX = 50
_RECENT = 5
_CANCELLED_WITHIN_S = 3.0


def once_per_client_key(client_key: str, _order_id: str) -> str:
    """What keeps a second order away: the key that the customer sent."""
    return client_key


def never() -> bool:
    """Two orders never share what is in a cart."""
    return False


class Ordering:
    """All orders.

    Keeps: no charge without an order that is paid, and no order that is paid without its charge; what is in
    a cart becomes one order, whatever keys are sent with it. The saga of an order goes on where its process dies.
    """

    def __init__(
        self,
        orders: Orders,
        sagas: OrderSagas,
        *,
        calls: Calls,
        events: EventStore,
        view: OrderView,
        tables: Projection,
        bounded: Policy,
        now_us: Callable[[], int],
        dedupe: Callable[[str, str], str] = once_per_client_key,
        shares_cart: Callable[[], bool] = never,
    ) -> None:
        self._orders = orders
        self._sagas = sagas
        self._calls = calls
        self._events = events
        self._view = view
        self._tables = tables
        self._bounded = bounded
        self._now_us = now_us
        self._dedupe = dedupe
        self._shares_cart = shares_cart
        self._placing = Unbroken()

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
        await self._placing.aclose()  # its transaction may be on its way
        order = await self._orders.give_up(order_id, "too-slow")
        if order.status == PAID:
            return order
        if order.status:
            # Its saga finds the order given up before it charges, or when it declares it paid.
            with contextlib.suppress(Problem):  # its undo does that again
                await self._calls.give_back(order_id)
        raise Problem(503, "too-slow", "The order took too long and is being undone.", retry_after_s=5)

    async def _place(self, order_id: str, client_key: str, checkout: Checkout) -> Order:
        checkout_key = self._dedupe(client_key, order_id)
        known = await self._orders.of_key(checkout_key)
        if known is not None:
            return _again(known, checkout)
        placed = await self._priced(order_id, client_key, checkout)
        purchase, card = self._purchase(placed), await self._calls.keep_card(order_id, checkout.card)
        begun = self._sagas.place_order.options(id=order_id)
        try:
            await self._placing.run(
                self._orders.place(
                    placed, checkout_key, checkout, lambda view: begun.within(view).start(purchase, card)
                )
            )
        except KeyTaken:
            known = await self._orders.of_key(checkout_key)
            return _again(known or Order(order_id, cart_id=checkout.cart_id), checkout)
        await self._done(self._sagas.sagas.handle(order_id))
        order, _ = await self._known(order_id)
        _log.info("order paid", extra={"order_id": order_id, "total_minor": order.total_minor})
        if purchase["shared"]:
            await self._calls.empty_cart(order_id)
        return order

    async def _done(self, run: SagaHandle[None]) -> None:
        """Wait until its saga has paid the order, or has failed."""
        try:
            await run.result(CHECKOUT_S, wait_for_undo=False)
        except SagaUndone as undone:
            if not isinstance(undone.__cause__, OrderRefused):
                raise Problem(
                    503, "order-undone", "The order took too long and is being undone.", retry_after_s=5
                ) from None
            await self._refused(run, undone.__cause__)

    async def _refused(self, run: SagaHandle[None], refusal: OrderRefused) -> NoReturn:
        """Where nothing is uncertain, the customer finds all as it was before: the undo is waited for."""
        if refusal.did_nothing:
            with contextlib.suppress(SagaUndone, DeadlineExceeded):
                await run.result(CHECKOUT_S)
        raise refusal.problem() from None

    async def _priced(self, order_id: str, client_key: str, checkout: Checkout) -> OrderPlaced:
        lines, currency = await self._calls.quote(checkout.cart_id)
        off_minor = discount(lines, await self._calls.offered(checkout.coupon)) if checkout.coupon else 0
        return OrderPlaced(
            order_id=order_id,
            client_key=client_key,
            cart_id=checkout.cart_id,
            lines=lines,
            total_minor=total(lines) - off_minor,
            currency=currency,
            placed_at_us=self._now_us(),
            coupon=checkout.coupon,
            discount_minor=off_minor,
        )

    def _purchase(self, placed: OrderPlaced) -> Purchase:
        return Purchase(
            order_id=placed.order_id,
            cart_id=placed.cart_id,
            placed_at_us=placed.placed_at_us,
            lines=items(placed.lines),
            total_minor=placed.total_minor,
            coupon=placed.coupon,
            shared=self._shares_cart(),
        )

    async def show(self, order_id: str) -> dict[str, Any]:
        """An order with its lines and its history, with all that was written before this was asked."""
        _, position = await self._known(order_id)
        await self._caught_up(position)
        order, lines, steps = await together(
            self._view.find(order_id),
            self._view.lines_of([order_id]),
            history_of(order_id, self._sagas.sagas, self._events),
        )
        if order is None:  # its events could not be applied yet
            raise _late_tables()
        return {
            **summary(order),
            "reason": order.reason,
            "placed_at": _instant(order.placed_at_us),
            "coupon": order.coupon,
            "discount_minor": order.discount_minor,
            "items": items(lines[order_id]),
            "history": [{"step": step.step, "state": step.state, "at": _instant(step.at_us)} for step in steps],
        }

    async def cancel(self, order_id: str) -> Order:
        """A paid order, taken back: refunded and its pieces free again, or on the way there.

        Keeps: asking again changes nothing. A 409 problem for an order that was never paid.
        """
        await self._known(order_id)
        return await self._take_back(order_id, BY_CUSTOMER, self._sagas.cancel_order.options(id=f"{order_id}-cancel"))

    async def send_back(self, order_id: str) -> Order:
        """The same for an order whose parcel was sent, and has come back. A 409 problem for one that was not sent."""
        order, _ = await self._known(order_id)
        if order.status == PAID:
            await self._calls.check_sent(order_id)
        return await self._take_back(order_id, BY_RETURN, self._sagas.return_order.options(id=f"{order_id}-return"))

    async def _take_back(self, order_id: str, reason: str, begun: Saga[[str], None]) -> Order:
        order = await self._orders.take_back(order_id, reason, lambda view: begun.within(view).start(order_id))
        if not order.is_cancelled:
            raise Problem(409, "not-cancellable", f"An order that is {order.status} cannot be cancelled.")
        if order.status == UNDOING and order.reason == reason:
            with contextlib.suppress(DeadlineExceeded):  # a service is away: the saga asks until it is done
                await self._sagas.sagas.handle(begun.run_id).result(_CANCELLED_WITHIN_S)
        return (await self._known(order_id))[0]

    async def _known(self, order_id: str) -> tuple[Order, int]:
        order, position = await self._orders.find(order_id)
        if order is None:
            raise not_found("such order")
        return order, position

    async def _caught_up(self, position: int | None = None) -> None:
        """Wait until the tables have an event, or all that there is now; a Problem 503 where that takes long."""
        if position is None:
            position = (await self._events.log.head()).position
        try:
            await self._tables.caught_up(position)
        except DeadlineExceeded:
            raise _late_tables() from None

    async def of_cart(self, cart_id: str) -> list[dict[str, Any]]:
        """The orders of a cart, newest first, and not more than a page shows."""
        await self._caught_up()
        orders = await self._view.of_cart(cart_id, _OF_CART_MAX)
        lines = await self._view.lines_of([order.order_id for order in orders])
        return [{**_dated(order), "items": items(lines[order.order_id])} for order in orders]

    async def recent(self) -> list[dict[str, Any]]:
        """The last few orders, newest first."""
        await self._caught_up()
        return [_dated(order) for order in await self._view.recent(_RECENT)]

    async def delivery(self, order_id: str, cart_id: str) -> dict[str, Any]:
        """The e-mail and the address of an order; 404 for another cart than the one that ordered."""
        order, _ = await self._known(order_id)
        if order.cart_id != cart_id:
            raise not_found("such order")
        return await self._orders.contact(order_id)

    async def ledger(self, after: str, limit: int, since_us: int) -> list[dict[str, Any]]:
        """What is to be audited of each order."""
        await self._caught_up()
        return await self._view.ledger(after, limit, since_us)

    async def logged(self, after: int, limit: int) -> list[dict[str, Any]]:
        """The events of all orders behind a position, as they are stored: nothing that reads them can change that."""
        return [
            {
                "number": it.position,
                "order_id": it.stream.removeprefix(ORDERS.stream("")),
                "event": it.type,
                "version": int(it.metadata[SCHEMA_VERSION]),
                "at_us": it.recorded_us,
            }
            for it in (await self._events.log.read_all(after, limit)).events
        ]

    async def with_coupons(self) -> dict[str, int]:
        """How many paid orders used each coupon."""
        await self._caught_up()
        return await self._view.with_coupons()

    async def counts(self) -> dict[str, dict[str, int]]:
        """Number and sum of the orders in each status, and since when the first of them is in it."""
        await self._caught_up()
        return await self._view.counts()


def _late_tables() -> Problem:
    return Problem(503, "orders-late", "The orders are being brought up to date.", retry_after_s=2)


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
