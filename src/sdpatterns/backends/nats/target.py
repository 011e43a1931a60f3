"""A relay's target: a subject of a JetStream stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sdpatterns.backends.nats.connection import Call, NatsConnection
from sdpatterns.backends.nats.server import NatsServer, answered, told
from sdpatterns.core.envelope import EnvelopeMode, Event, check_mode, enclosed
from sdpatterns.core.keys import key_of
from sdpatterns.core.runtime import ASYNCIO, Runtime
from sdpatterns.errors import BackendError
from sdpatterns.ports.engine.failures import Lost, repeat

__all__ = ["JetStreamTarget"]


class JetStreamTarget:
    """Publishes events on a subject that a JetStream stream of yours takes: see `NatsBackend.stream_target`.

    **Keeps**: events of one subject of theirs stand in the stream in order. Each has the header `Nats-Msg-Id`, by
    which JetStream drops one that comes again within the stream's `duplicate_window`, two minutes by default. The
    stream's consumers may still get an event twice, so take it with an `Inbox`.
    **May fail** with `BackendError`, also where no stream takes the subject: the relay tries again.
    **Costs** one round trip.
    """

    def __init__(
        self,
        server: NatsServer,
        here: Callable[[], NatsConnection],
        subject: str | Callable[[Event], str],
        mode: EnvelopeMode,
    ) -> None:
        self.runtime: Runtime | None = ASYNCIO
        self._server = server
        self._here = here
        self._subject_of = key_of(subject)
        self._mode: EnvelopeMode = check_mode(mode)

    async def __call__(self, event: Event) -> None:
        """Publish it, and await that the stream has it."""
        headers, body = enclosed(event, self._mode)
        subject = self._subject_of(event)
        calls = [Call(subject, body, {**headers, "Nats-Msg-Id": event.identity})]
        said = await told(self._server, self._published(calls))
        if "stream" not in said:
            raise BackendError(f"{self._server.shown}: what answers on {subject!r} is no stream")

    async def _published(self, calls: Sequence[Call]) -> dict[str, Any]:
        try:
            [answer] = await self._here().call_all(calls)
        except Lost as lost:
            [answer] = await repeat(lost, lambda: self._here().call_all(calls))
        return answered(self._server, answer)
