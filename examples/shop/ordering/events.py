"""How the others hear of a paid order: through the outbox, or by hand."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from sdpatterns import Outbox
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.messaging.cloudevents import CloudEvent
from shop.ordering.domain import PaidOrder
from shop.problems import Problem
from shop.service_client import ServiceClient

_log = logging.getLogger("shop.ordering")
ORDER_PAID = "order.paid"
Send: TypeAlias = Callable[[CloudEvent], Awaitable[None]]


class Publisher(Protocol):
    """Tells the others of a change, in its transaction or after it."""

    async def with_change(self, paid: PaidOrder, connection: AsyncConnection) -> None:
        """Called in the transaction of the change."""
        ...

    async def after_change(self, paid: PaidOrder) -> None:
        """Called when the change has been committed."""
        ...


class OutboxPublisher:
    """Writes the event in the transaction of the change, for a relay to hand on.

    Keeps: there is an event if, and only if, the order is paid.
    """

    def __init__(self, outbox: Outbox, backend: SQLBackend) -> None:
        self._outbox = outbox
        self._backend = backend

    async def with_change(self, paid: PaidOrder, connection: AsyncConnection) -> None:
        """Write the event."""
        await self._outbox.publish(event_of(self._outbox, paid), within=self._backend.within(connection))

    async def after_change(self, paid: PaidOrder) -> None:
        """Nothing: the relay does the rest."""


class HandPublisher:
    """Sends the event when the change has been committed: lost where the process dies, or the other one is away."""

    def __init__(self, outbox: Outbox, send: Send) -> None:
        self._outbox = outbox
        self._send = send

    async def with_change(self, paid: PaidOrder, connection: AsyncConnection) -> None:
        """Nothing yet: it may still be rolled back."""

    async def after_change(self, paid: PaidOrder) -> None:
        """Send the event, once."""
        try:
            await self._send(event_of(self._outbox, paid))
        except Problem as problem:
            _log.error("a paid order is not followed up", extra={"order_id": paid.order_id, "reason": problem.detail})


def event_of(outbox: Outbox, paid: PaidOrder) -> CloudEvent:
    """The event; its subject is the order, so that events of one order stay in order."""
    data = {**paid._asdict(), "address": dict(paid.address), "items": [line._asdict() for line in paid.items]}
    return outbox.event("/ordering", ORDER_PAID, paid.order_id, data)


def sender(fulfilment: ServiceClient) -> Send:
    """Sends events to fulfilment; a Problem where it did not take one."""

    async def send(event: CloudEvent) -> None:
        headers = {"content-type": "application/cloudevents+json"}
        await fulfilment.deliver("/internal/events", event.structured(), headers)

    return send
