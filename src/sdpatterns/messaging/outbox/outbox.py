"""Events that are published if, and only if, the caller's transaction commits."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from sdpatterns.core.judging import plain
from sdpatterns.core.keys import check_name
from sdpatterns.core.undivided import Undivided
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer import message_of
from sdpatterns.ports.backend import HasQueues, HasSignals
from sdpatterns.ports.queue import QueueSettings, require

__all__ = ["Outbox", "OutboxBackend"]


class OutboxBackend(HasQueues, HasSignals, Protocol):
    """What an outbox needs: a queue in the database of the business rows, and signals that wake its relay."""


class Outbox(Undivided):
    """Writes events in the caller's SQL transaction; a `Relay` publishes them after the commit.

    ```
    async with session.begin():
        session.add(order)                                       your rows
        await outbox.publish(event, within=backend.within(session))
    ```

    **Keeps**: an event is published at least once after the commit, and never without it. Events of one
    `subject` are published in the order in which their transactions commit, one at a time, by however many relays.
    Publishing may happen twice, with the same id: an `Inbox` on the other side takes it once.
    **May fail** with what the session raises; TypeError where the backend has no transactions.
    **Costs** one insert in the transaction, and a lock on the subject until it ends.

    Source: Richardson, "Transactional outbox" (microservices.io).
    """

    _elsewhere = "build it there, at import time, with the same backend"

    def __init__(
        self,
        name: str,
        *,
        backend: OutboxBackend,
        settings: QueueSettings | None = None,
        ids: Callable[[], str] = lambda: os.urandom(16).hex(),
    ) -> None:
        self.name = check_name("Outbox", name)
        self._settings = settings or QueueSettings()
        self.queue = backend.queue(f"outbox/{name}", self._settings)
        require(self.queue, f"Outbox {name!r}", "transaction", "fence", "keyed order")
        self.signals = backend.signals
        self._ids = plain("ids", ids)

    def event(self, source: str, kind: str, subject: str | None = None, data: object = None) -> CloudEvent:
        """A `CloudEvent` with a random id."""
        return CloudEvent(id=self._ids(), source=source, type=kind, subject=subject, data=data)

    async def publish(self, *events: CloudEvent, within: HasQueues) -> None:
        """Write the events in the transaction behind `within`, which is `backend.within(session)`."""
        messages = [message_of(event) for event in events]
        await within.queue(self.queue.name, self._settings).publish(messages)
