"""The events of orders as they are stored, and how the others hear of a paid order: through the outbox, or by hand."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from sdpatterns import Aggregate, EventSchema, EventType, Outbox
from sdpatterns.backends.sqlalchemy.within import SQLView
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.schema import Upcaster
from shop.ordering.domain import (
    Command,
    Order,
    OrderCancelled,
    OrderEvent,
    OrderFailed,
    OrderGivenUp,
    OrderPaid,
    OrderPlaced,
    OrderTakenBack,
    PaidOrder,
    decide,
    evolve,
    items,
)
from shop.problems import Problem
from shop.service_client import ServiceClient

_log = logging.getLogger("shop.ordering")
ORDER_PAID = "order.paid"
Send: TypeAlias = Callable[[CloudEvent], Awaitable[None]]


def in_minor_units(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 of `order.placed` from version 1, whose total was an amount with decimals."""
    total = data.pop("total")
    return {**data, "total_minor": int(total * 100)}


def event_types(upcaster: Upcaster = in_minor_units) -> tuple[EventType, ...]:
    """All types of events; an order that the first release wrote is read through the upcaster, by every reader."""
    return (
        EventType("order.placed", OrderPlaced, version=2, upcasters={1: upcaster}),
        EventType(ORDER_PAID, OrderPaid),
        EventType("order.given-up", OrderGivenUp),
        EventType("order.failed", OrderFailed),
        EventType("order.taken-back", OrderTakenBack),
        EventType("order.cancelled", OrderCancelled),
    )


SCHEMA_OF_EVENTS = EventSchema(*event_types())
ORDERS: Aggregate[Order, Command, OrderEvent] = Aggregate(name="order", initial=Order(), decide=decide, evolve=evolve)


class Publisher(Protocol):
    """Tells the others of a change, in its transaction or after it."""

    async def with_change(self, paid: PaidOrder, view: SQLView) -> None:
        """Called in the transaction of the change."""
        ...

    async def after_change(self, paid: PaidOrder) -> None:
        """Called when the change has been committed."""
        ...


class OutboxPublisher:
    """Writes the news in the transaction of the change, for a relay to hand on.

    Keeps: there is news if, and only if, the order is paid.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def with_change(self, paid: PaidOrder, view: SQLView) -> None:
        """Write the news."""
        await self._outbox.publish(event_of(self._outbox, paid), within=view)

    async def after_change(self, paid: PaidOrder) -> None:
        """Nothing: the relay does the rest."""


class HandPublisher:
    """Sends the news when the change has been committed: lost where the process dies, or the other one is away."""

    def __init__(self, outbox: Outbox, send: Send) -> None:
        self._outbox = outbox
        self._send = send

    async def with_change(self, paid: PaidOrder, view: SQLView) -> None:
        """Nothing yet: it may still be rolled back."""

    async def after_change(self, paid: PaidOrder) -> None:
        """Send the news, once."""
        try:
            await self._send(event_of(self._outbox, paid))
        except Problem as problem:
            _log.error("a paid order is not followed up", extra={"order_id": paid.order_id, "reason": problem.detail})


def event_of(outbox: Outbox, paid: PaidOrder) -> CloudEvent:
    """The news as an event; its subject is the order, so that events of one order stay in order."""
    data = {**paid._asdict(), "address": dict(paid.address), "items": items(paid.items)}
    return outbox.event("/ordering", ORDER_PAID, paid.order_id, data)


def sender(fulfilment: ServiceClient) -> Send:
    """Sends events to fulfilment; a Problem where it did not take one."""

    async def send(event: CloudEvent) -> None:
        headers = {"content-type": "application/cloudevents+json"}
        await fulfilment.deliver("/internal/events", event.structured(), headers)

    return send
