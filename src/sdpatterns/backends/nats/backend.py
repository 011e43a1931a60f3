"""The NATS backend as one object."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sdpatterns.backends.nats.connection import NatsConnection
from sdpatterns.backends.nats.events.reading import LogStream
from sdpatterns.backends.nats.listener import NatsConnector
from sdpatterns.backends.nats.log import NatsLog
from sdpatterns.backends.nats.server import NatsServer, told
from sdpatterns.backends.nats.stored import make_stream
from sdpatterns.backends.nats.target import JetStreamTarget
from sdpatterns.backends.nats.versioned import NatsMap
from sdpatterns.core.envelope import EnvelopeMode, Event
from sdpatterns.core.keys import check_name
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.looped import LoopBackend
from sdpatterns.ports.log import LogSettings
from sdpatterns.ports.timekeeping import SERVER

__all__ = ["NatsBackend"]

_OLDEST = (2, 12)
_LOG_SETTINGS = LogSettings()


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
        self._logs: dict[str, LogStream] = {}
        super().__init__(
            shown=server.shown,
            clock=SERVER,
            cells=lambda here: NatsMap(server, here),
            connect=lambda: NatsConnection(server),
            connector=NatsConnector(server),
            random=random,
        )

    def log(self, name: str, /, settings: LogSettings = _LOG_SETTINGS) -> NatsLog:
        """The log of that name. Opens nothing; the same name is the same log.

        Its first use makes its stream, unless it is there.
        """
        stream = self._logs.get(check_name("a log", name))
        if stream is None:
            # Shared by all objects for it, because it knows where its streams end.
            stream = self._logs.setdefault(name, LogStream(self._server, name, self._resources.here))
        return NatsLog(stream, settings, lambda: self._map.shift_us, self.signals)

    def stream_target(
        self, subject: str | Callable[[Event], str], *, mode: EnvelopeMode = "structured"
    ) -> JetStreamTarget:
        """Where a relay takes events: a subject, or a function of the event that names one. Opens nothing.

        Make the stream that takes it yourself: this backend's own are for cells and logs.
        """
        return JetStreamTarget(self._server, self._connection, subject, mode)

    async def create(self) -> None:
        """Make the stream of the cells, or see that the one that is there is fit.

        May fail with `BackendUnavailable`, in one line that names the URL and the fix.
        """
        await told(self._server, self._create())

    async def _create(self) -> None:
        version = await self._connection().version()
        if version < _OLDEST:
            found = ".".join(map(str, version))
            raise BackendUnavailable(f"{self._server.shown} runs version {found}; 2.12 or newer is needed")
        await make_stream(self._server, self._connection(), self._server.stream())
