"""The NATS backend as one object."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sdpatterns.backends.nats.connection import Call, NatsConnection
from sdpatterns.backends.nats.listener import NatsConnector
from sdpatterns.backends.nats.server import NatsServer, answered
from sdpatterns.backends.nats.target import JetStreamTarget
from sdpatterns.backends.nats.versioned import NatsMap
from sdpatterns.core.envelope import EnvelopeMode, Event
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.failures import Lost
from sdpatterns.ports.engine.looped import LoopBackend, failure_of
from sdpatterns.ports.timekeeping import SERVER

__all__ = ["NatsBackend"]

_OLDEST = (2, 12)
_IN_USE = 10058
"""The stream is there and is set otherwise."""


class NatsBackend(LoopBackend[NatsConnection]):
    """Keeps the state of patterns in a JetStream stream, and sends their signals by core NATS.

    Keeps what a port promises as long as the server keeps its data: by default it writes to its files
    before it answers, and has the disk write them every two minutes. Built at import time it opens
    nothing; connections open at first use, one set for each event loop. `async with backend:` closes
    those of the loop. `await backend.create()` makes the stream.

    Costs: two trips a step (read, compare-and-set), and two more for each race that is lost to another
    process; the steps of one process on one cell share them. A cell is a message of about 100 bytes and
    the state. May fail with `ValueError` for a bad setting, at once.
    """

    def __init__(
        self,
        url: str,
        *,
        blocking: bool = False,
        prefix: str = "sdp",
        replicas: int = 1,
        timeout_s: float = 5.0,
        options: Mapping[str, Any] = MappingProxyType({}),
        random: Callable[[], float] = random.random,
    ) -> None:
        """A backend for the server at `nats://…` or `tls://…`, or several with commas between, tried in order.

        `prefix` is the name of the stream and begins every subject. `replicas` is in how many servers of a
        cluster the stream lives. `timeout_s` bounds how long one reply is waited for. `options` are those of
        `nats.connect` for TLS and credentials. `random` gives the jitter between two tries.
        """
        if blocking:
            raise TypeError("nats-py has no blocking client: use NatsBackend in an asyncio program")
        server = NatsServer(
            urls=tuple(url.split(",")), prefix=prefix, replicas=replicas, timeout_s=timeout_s, options=options
        )
        self._server = server
        super().__init__(
            shown=server.shown,
            clock=SERVER,
            cells=lambda here: NatsMap(server, here),
            connect=lambda: NatsConnection(server),
            connector=NatsConnector(server),
            random=random,
        )

    def stream_target(
        self, subject: str | Callable[[Event], str], *, mode: EnvelopeMode = "structured"
    ) -> JetStreamTarget:
        """Where a relay takes events: a subject, or a function of the event that names one. Opens nothing.

        Make the stream that takes it yourself: this backend's own is for cells.
        """
        return JetStreamTarget(self._server, self._connection, subject, mode)

    async def create(self) -> None:
        """Make the stream, or see that the one that is there is fit.

        May fail with `BackendUnavailable`, in one line that names the URL and the fix.
        """
        wanted, name, call_all = self._server.stream(), self._server.prefix, self._connection().call_all
        try:
            version = await self._connection().version()
            if version < _OLDEST:
                found = ".".join(map(str, version))
                raise BackendUnavailable(f"{self._server.shown} runs version {found}; 2.12 or newer is needed")
            [made] = await call_all([Call(f"$JS.API.STREAM.CREATE.{name}", json.dumps(wanted).encode())])
            if json.loads(made.data).get("error", {}).get("err_code") == _IN_USE:
                [made] = await call_all([Call(f"$JS.API.STREAM.INFO.{name}")])
            self._check(answered(self._server, made)["config"], wanted)
        except Lost as lost:
            raise failure_of(self._server.shown, lost) from lost

    def _check(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        wrong = [field for field, value in wanted.items() if found.get(field, False) != value]
        if wrong:
            words = [f"{field} is {found.get(field, False)!r} and must be {wanted[field]!r}" for field in wrong]
            raise BackendUnavailable(f"stream {self._server.prefix!r} at {self._server.shown}: {'; '.join(words)}")
