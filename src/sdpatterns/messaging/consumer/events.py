"""A consumer whose messages are events: the relay of an outbox, and the subscribers of a topic."""

from __future__ import annotations

import inspect
import random as random_numbers
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeAlias

from sdpatterns.core import context
from sdpatterns.core.carried import CORRELATION, trace_in
from sdpatterns.core.envelope import EnvelopeMode, Event, enclosed
from sdpatterns.core.judging import callable_of
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.tracing import TRACERS, Opened, SpanKind
from sdpatterns.errors import BackendFull, BackendUnavailable
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer.config import Redelivery
from sdpatterns.messaging.consumer.decision import Again, GiveUp, Next, after_failure
from sdpatterns.messaging.consumer.delivery import Delivery
from sdpatterns.messaging.consumer.notices import EventHandled, EventParked, EventPublished, EventRequeued
from sdpatterns.messaging.consumer.service import Consumer
from sdpatterns.ports.queue import Claimed, Complete, Message, MessageQueue, Park, Requeue, Settlement
from sdpatterns.ports.signals import SignalBus

__all__ = ["EventConsumer", "EventDelivery", "EventHandler", "awaited", "message_of"]

EventHandler: TypeAlias = Callable[[CloudEvent], Any]
"""A function, async or plain, that returns when it is done with the event and raises otherwise."""

_AWAY_S = 10.0
"""The longest pause before an event goes to a handler again that was away."""


def message_of(event: Event, mode: EnvelopeMode = "structured") -> Message:
    """The message of an event: events of one subject keep their order."""
    headers, body = enclosed(event, mode)
    return Message(id=event.identity, payload=body, key=event.subject, headers=headers)


class EventConsumer(Consumer):
    """Hands the events of a queue to `handler`. Kinds of it say what they call that."""

    done: ClassVar[type[EventPublished | EventHandled]] = EventHandled
    span: ClassVar[tuple[str, SpanKind]] = ("process", "consumer")

    def __init__(
        self,
        name: str,
        queue: MessageQueue,
        signals: SignalBus,
        handler: EventHandler,
        redelivery: Redelivery,
        *,
        concurrency: int,
        lease_s: float,
        poll_s: float,
        drain_s: float,
        service: str | None = None,
    ) -> None:
        super().__init__(name, queue, signals, concurrency=concurrency, lease_s=lease_s, poll_s=poll_s, drain_s=drain_s)
        self.service = service
        self.handler = callable_of("handler", handler)
        self.redelivery = redelivery

    def deliver(self, claimed: Claimed, until_s: float, /) -> EventDelivery:
        """One event on its way."""
        return EventDelivery(self, claimed, until_s)


class EventDelivery(Delivery):
    """One event on its way."""

    def __init__(self, consumer: EventConsumer, claimed: Claimed, until_s: float) -> None:
        super().__init__(consumer.queue, claimed, consumer.lease_s, until_s)
        self._consumer = consumer

    async def handle(self) -> Settlement:
        """Hand it over; what is to become of its message."""
        claimed = self.claimed
        try:
            event = CloudEvent.from_structured(claimed.payload)
            await self._handed_over(event)
        except Exception as error:  # noqa: BLE001 - judged by the decision
            return self._failed(error)
        if LISTENERS:
            lag_s = max(0.0, (self.claimed_us - claimed.published_us) / 1_000_000)
            tell(self._consumer.done(name=self._consumer.name, id=claimed.id, attempt=claimed.attempt, lag_s=lag_s))
        return Complete(claimed)

    async def _handed_over(self, event: CloudEvent) -> None:
        headers, consumer = self.claimed.headers, self._consumer
        context.correlation_id.set(headers.get(CORRELATION))
        if not TRACERS:
            context.trace.set(trace_in(headers))
            await awaited(consumer.handler(event))
            return
        (does, kind), name = consumer.span, consumer.name
        facts = {"messaging.destination.name": name, "messaging.message.id": event.id}
        if consumer.service is not None:
            facts["service.name"] = consumer.service
        with Opened(f"{does} {event.type}", kind, facts, parent=trace_in(headers)):
            await awaited(consumer.handler(event))

    def _failed(self, error: Exception) -> Settlement:
        claimed, name = self.claimed, self._consumer.name
        after = self._after(error)
        if isinstance(after, GiveUp):
            if LISTENERS:
                tell(EventParked(name=name, id=claimed.id, attempt=claimed.attempt, reason=after.reason))
            return Park(claimed, after.reason)
        if LISTENERS:
            told = type(error).__qualname__
            tell(EventRequeued(
                name=name, id=claimed.id, attempt=claimed.attempt, delay_s=after.delay_s, error=told
            ))  # fmt: skip
        return Requeue(claimed, after.delay_s, after.counts)

    def _after(self, error: Exception) -> Next:
        redelivery, draw = self._consumer.redelivery, random_numbers.random()
        # That a server is away is no fault of the event, which would end as a dead letter after a long outage.
        if isinstance(error, (BackendUnavailable, BackendFull)):
            return Again(draw * min(_AWAY_S, redelivery.max_s), counts=False)
        return after_failure(redelivery, self.claimed.attempt, error, draw)

    def lost(self) -> None:
        """Another process has it: it may be handed over twice."""


async def awaited(found: Awaitable[Any] | Any) -> Any:
    """What `found` is, or will be."""
    return await found if inspect.isawaitable(found) else found
