"""The etcd backend as one object."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from aetcd import rpc

from sdpatterns.backends.etcd.connection import EtcdConnection
from sdpatterns.backends.etcd.listener import EtcdConnector
from sdpatterns.backends.etcd.server import EtcdServer
from sdpatterns.backends.etcd.versioned import EtcdMap
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.failures import Lost
from sdpatterns.ports.engine.looped import LoopBackend, failure_of
from sdpatterns.ports.timekeeping import Skewed

__all__ = ["EtcdBackend"]

_OLDEST = (3, 4)


class EtcdBackend(LoopBackend[EtcdConnection]):
    """Keeps the state and signals of patterns in etcd.

    Keeps what a port promises, also through a crash: etcd answers a write when a majority has it on disk. It has no
    clock that a step could read, so each client brings that of its machine: they may differ by `skew_s`, and
    patterns judge an expiry later by as much. Built at import time it opens nothing; connections open at first
    use, one set for each event loop. `async with backend:` closes those of the loop.

    Costs: two trips a step (read, transaction), and one more for each race that is lost to another process; the
    steps of one process on one cell share them. May fail with `ValueError` for a bad setting, at once.
    """

    def __init__(
        self,
        url: str,
        *,
        blocking: bool = False,
        prefix: str = "sdp",
        skew_s: float = 1.0,
        timeout_s: float = 5.0,
        credentials: Any = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        """A backend for the server at `etcd://host:2379` or `etcd://user:password@host:2379`.

        `prefix` begins every key. `skew_s` bounds how much the clocks of two clients may differ. `timeout_s`
        bounds how long one reply is waited for. `credentials` are those of `grpc.ssl_channel_credentials`, for
        TLS. `random` gives the jitter between two tries.
        """
        if blocking:
            raise TypeError("aetcd has no blocking client: use EtcdBackend in an asyncio program")
        server = EtcdServer(url=url, prefix=prefix, timeout_s=timeout_s, credentials=credentials)
        self._server = server
        super().__init__(
            shown=server.shown,
            clock=Skewed(skew_s),
            cells=lambda here: EtcdMap(server, here),
            connect=lambda: EtcdConnection(server),
            connector=EtcdConnector(server),
            random=random,
        )

    async def create(self) -> None:
        """See that the server answers and is new enough. Nothing has to be made there.

        May fail with `BackendUnavailable`, in one line that names the URL and the fix.
        """
        try:
            status = await self._connection().call(rpc.MaintenanceStub, "Status", rpc.StatusRequest())
        except Lost as lost:
            raise failure_of(self._server.shown, lost) from lost
        major, minor = (int(word) for word in status.version.split(".")[:2])
        if (major, minor) < _OLDEST:
            raise BackendUnavailable(f"{self._server.shown} runs version {status.version}; 3.4 or newer is needed")
