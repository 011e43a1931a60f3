"""Publish what is in an outbox."""

from __future__ import annotations

import inspect
import random as random_numbers
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from sdpatterns.core import context
from sdpatterns.core.carried import CORRELATION, trace_in
from sdpatterns.core.context import correlation_id
from sdpatterns.core.judging import callable_of
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.tracing import TRACERS, Opened
from sdpatterns.errors import BackendFull, BackendUnavailable
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer import Again, Consumer, Delivery, GiveUp, Next, Redelivery, after_failure
from sdpatterns.messaging.outbox.notices import EventParked, EventPublished, EventRequeued
from sdpatterns.messaging.outbox.outbox import Outbox
from sdpatterns.ports.queue import Claimed, Complete, Park, Requeue, Settlement

__all__ = ["Relay", "Target"]

Target: TypeAlias = Callable[[CloudEvent], Any]
"""Where events go: a function, async or plain, that returns when the event is safely there and raises otherwise."""

PATIENT = Redelivery(attempts_max=50, base_s=0.5, max_s=60.0)
"""How a relay tries again where it is told nothing else: for half an hour or so."""

_AWAY_S = 10.0
"""The longest pause before an event goes to a target again that was away."""


class Relay(Consumer):
    """Hands the events of an outbox to a target: `async with Relay(outbox, publish):`. Run as many as you like.

    **Keeps**: an event stays in the outbox until the target has returned. Events of one subject are handed over in
    order: while one of them fails, those behind it wait, until it is parked. What the target got just before a relay
    died it gets again. A target that raises `BackendUnavailable` or `BackendFull` is tried again for as long as it is
    away: this counts as no attempt.
    **May fail** with TypeError where the target needs another runtime than the outbox.
    **Costs** what a `Consumer` does. A plain function as the target blocks the loop: keep it short, or make it
    async.
    """

    def __init__(
        self,
        outbox: Outbox,
        to: Target,
        *,
        redelivery: Redelivery = PATIENT,
        concurrency: int = 50,
        lease_s: float = 8.0,
        poll_s: float = 5.0,
        drain_s: float = 30.0,
    ) -> None:
        super().__init__(
            outbox.name, outbox.queue, outbox.signals,
            concurrency=concurrency, lease_s=lease_s, poll_s=poll_s, drain_s=drain_s,
        )  # fmt: skip
        self.target = callable_of("to", to)
        _check_runtime(outbox, getattr(to, "runtime", None))
        self.redelivery = redelivery

    def deliver(self, claimed: Claimed, until_s: float, /) -> EventDelivery:
        """One event on its way."""
        return EventDelivery(self, claimed, until_s)


class EventDelivery(Delivery):
    """One event on its way."""

    def __init__(self, relay: Relay, claimed: Claimed, until_s: float) -> None:
        super().__init__(relay.queue, claimed, relay.lease_s, until_s)
        self._relay = relay

    async def handle(self) -> Settlement:
        """Hand it to the target; what is to become of its message."""
        claimed = self.claimed
        try:
            event = CloudEvent.from_structured(claimed.payload)
            await self._handed_over(event)
        except Exception as error:  # noqa: BLE001 - judged by the decision
            return self._failed(error)
        if LISTENERS:
            lag_s = max(0.0, (self.claimed_us - claimed.published_us) / 1_000_000)
            tell(EventPublished(name=self._relay.name, id=claimed.id, attempt=claimed.attempt, lag_s=lag_s))
        return Complete(claimed)

    async def _handed_over(self, event: CloudEvent) -> None:
        headers = self.claimed.headers
        correlation_id.set(headers.get(CORRELATION))
        if not TRACERS:
            context.trace.set(trace_in(headers))
            await _awaited(self._relay.target(event))
            return
        facts = {"messaging.destination.name": self._relay.name, "messaging.message.id": event.id}
        with Opened(f"publish {event.type}", "producer", facts, parent=trace_in(headers)):
            await _awaited(self._relay.target(event))

    def _failed(self, error: Exception) -> Settlement:
        claimed, name = self.claimed, self._relay.name
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
        redelivery, draw = self._relay.redelivery, random_numbers.random()
        # A target that is away is no fault of the event, which would end as a dead letter after a long outage.
        if isinstance(error, (BackendUnavailable, BackendFull)):
            return Again(draw * min(_AWAY_S, redelivery.max_s), counts=False)
        return after_failure(redelivery, self.claimed.attempt, error, draw)

    def lost(self) -> None:
        """Another relay has it: the target may get it twice."""


async def _awaited(found: Awaitable[object] | object) -> None:
    if inspect.isawaitable(found):
        await found


def _check_runtime(outbox: Outbox, needed: Runtime | None) -> None:
    found = outbox.queue.runtime
    if needed is not None and found is not None and needed is not found:
        raise TypeError(f"the relay of {outbox.name!r} and its target need one runtime: build both backends alike")
