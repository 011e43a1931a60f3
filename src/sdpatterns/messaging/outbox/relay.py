"""Publish what is in an outbox."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from sdpatterns.core.judging import callable_of
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.tracing import SpanKind
from sdpatterns.messaging.consumer import EventConsumer, EventHandler, Redelivery
from sdpatterns.messaging.consumer.notices import EventPublished
from sdpatterns.messaging.outbox.outbox import Outbox

__all__ = ["Relay", "Target"]

Target: TypeAlias = EventHandler
"""Where events go: a function, async or plain, that returns when the event is safely there and raises otherwise."""

PATIENT = Redelivery(attempts_max=50, base_s=0.5, max_s=60.0)
"""How a relay tries again where it is told nothing else: for half an hour or so."""


class Relay(EventConsumer):
    """Hands the events of an outbox to a target: `async with Relay(outbox, publish):`. Run as many as you like.

    `service` names the service in the spans of its events, as in `TracingMiddleware`.

    **Keeps**: an event stays in the outbox until the target has returned. Events of one subject are handed over in
    order: while one of them fails, those behind it wait, until it is parked. What the target got just before a relay
    died it gets again. A target that raises `BackendUnavailable` or `BackendFull` is tried again for as long as it is
    away: this counts as no attempt.
    **May fail** with TypeError where the target needs another runtime than the outbox.
    **Costs** what a `Consumer` does. A plain function as the target blocks the loop: keep it short, or make it
    async.
    """

    done = EventPublished
    span: ClassVar[tuple[str, SpanKind]] = ("publish", "producer")

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
        service: str | None = None,
    ) -> None:
        _check_runtime(outbox, getattr(callable_of("to", to), "runtime", None))
        super().__init__(
            outbox.name, outbox.queue, outbox.signals, to, redelivery,
            concurrency=concurrency, lease_s=lease_s, poll_s=poll_s, drain_s=drain_s, service=service,
        )  # fmt: skip


def _check_runtime(outbox: Outbox, needed: Runtime | None) -> None:
    found = outbox.queue.runtime
    if needed is not None and found is not None and needed is not found:
        raise TypeError(f"the relay of {outbox.name!r} and its target need one runtime: build both backends alike")
