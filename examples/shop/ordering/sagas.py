"""The sagas of ordering: buy what is in a cart, cancel a paid order, and take back what was sent."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, ParamSpec, Protocol

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.errors import SagaCancelled
from sdpatterns.messaging.saga import Saga, SagaRun, Sagas
from shop.ordering.calls import Calls, Purchase, Refused
from shop.ordering.domain import UNDOING
from shop.ordering.orders import Orders
from shop.problems import Problem

P = ParamSpec("P")
Answer = dict[str, Any]

ATTEMPTS_MAX, PAUSE_S, PAUSE_MAX_S = 1_000, 0.2, 3.0  # the better part of an hour, before a person has to look

SERVICES = {
    "take": "cart",
    "reserve": "inventory",
    "charge": "payments",
    "sell": "inventory",
    "give-up": "ordering",
    "refund": "payments",
    "release": "inventory",
    "close": "ordering",
    "take-in": "fulfilment",
}
"""Which service does each step."""


class OrderRefused(Exception):
    """A step's answer is no: the order is undone, and its customer gets this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer["slug"])
        self.answer = answer

    @property
    def did_nothing(self) -> bool:
        """Whether the step is known to have done nothing."""
        return bool(self.answer["did_nothing"])

    def problem(self) -> Problem:
        """The answer, as the customer gets it."""
        return Problem(**{name: value for name, value in self.answer.items() if name != "did_nothing"})


class Undos(Protocol):
    """What takes the steps back. Undoing what was never done is harmless."""

    async def give_back(self, order_id: str) -> None:
        """Put the lines back into the cart."""
        ...

    async def release(self, order_id: str) -> None:
        """Give the pieces back."""
        ...

    async def repay(self, order_id: str) -> None:
        """Take the charge back."""
        ...


class OrderSagas(NamedTuple):
    """The sagas of ordering, and what they share."""

    sagas: Sagas
    place_order: Saga[[Purchase, str], None]
    cancel_order: Saga[[str], None]
    return_order: Saga[[str], None]


def order_sagas(backend: SQLBackend, calls: Calls, orders: Orders, undos: Callable[[], Undos]) -> OrderSagas:
    """The sagas. Each answer of a step is in the journal of the order: there is no card in it, only a token.

    A step that is refused is done too, and its answer says so. So its undo runs as well: where the provider
    was silent, and the result is unknown, the undo is what finds out.
    """
    # The page of an order shows its steps as long as there is an order.
    sagas = Sagas("orders", backend=backend, keep_s=None)
    declared = sagas.saga(give_up_on=(OrderRefused,), attempts_max=ATTEMPTS_MAX, base_s=PAUSE_S, max_s=PAUSE_MAX_S)
    take, reserve = answered(calls.take), answered(calls.reserve)
    charge = answered(functools.partial(_charged, calls, orders))
    sell = answered(functools.partial(_sold, calls, orders))

    async def close(order_id: str) -> None:
        await undos().give_back(order_id)
        await orders.close(order_id)

    async def give_up(order_id: str, reason: str) -> None:
        await orders.give_up(order_id, reason)
        await undos().give_back(order_id)

    @declared
    async def place_order(run: SagaRun, purchase: Purchase, card: str) -> None:
        order_id = purchase["order_id"]
        try:
            took = run.step("take", take, purchase, undo=lambda _: close(order_id))
            _agreed(await _or_closed(took, orders, order_id))
            _agreed(await run.step("reserve", reserve, purchase, undo=lambda _: undos().release(order_id)))
            _agreed(await run.step("charge", charge, purchase, card, undo=lambda _: undos().repay(order_id)))
            _agreed(await run.step("sell", sell, order_id, undo=lambda _: undos().release(order_id)))
        except OrderRefused as refusal:
            await run.step("give-up", give_up, order_id, refusal.answer["slug"])
            raise

    @declared
    async def cancel_order(run: SagaRun, order_id: str) -> None:
        await run.step("refund", calls.repay, order_id)
        await run.step("release", calls.release, order_id)
        await run.step("close", orders.close, order_id)

    @declared
    async def return_order(run: SagaRun, order_id: str) -> None:
        await run.step("take-in", calls.take_in, order_id)
        await run.step("refund", calls.repay, order_id)
        await run.step("release", calls.release, order_id)
        await run.step("close", orders.close, order_id)

    return OrderSagas(sagas, place_order, cancel_order, return_order)


async def _or_closed(first: Awaitable[Answer], orders: Orders, order_id: str) -> Answer:
    """The first step; an order whose saga is cancelled before it has nothing to undo, and so no undo that closes it."""
    try:
        return await first
    except SagaCancelled:
        await orders.close(order_id)
        raise


async def _charged(calls: Calls, orders: Orders, purchase: Purchase, card: str) -> None:
    """Charge the card, unless the order was given up since its saga began."""
    order, _ = await orders.find(purchase["order_id"])
    if order is not None and order.status == UNDOING:
        raise Refused(503, "order-undone", "The order took too long and is being undone.", retry_after_s=5)
    await calls.charge(purchase, card)


async def _sold(calls: Calls, orders: Orders, order_id: str) -> None:
    """Sell the pieces, and declare the order paid."""
    await calls.sell(order_id)
    if not await orders.pay(order_id):
        raise Problem(503, "order-undone", "The order took too long and is being undone.", retry_after_s=5)


def answered(call: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[Answer]]:
    """A call as a step of a saga: a problem is its answer, an empty one is yes."""

    async def step(*args: P.args, **kwargs: P.kwargs) -> Answer:
        try:
            await call(*args, **kwargs)
        except Problem as no:
            answer = {"status": no.status, "slug": no.slug, "detail": no.detail, "retry_after_s": no.retry_after_s}
            return {**answer, **no.members, "did_nothing": isinstance(no, Refused)}
        return {}

    return step


def _agreed(answer: Answer) -> None:
    if answer:
        raise OrderRefused(answer)
