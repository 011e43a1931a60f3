"""The Redis backend as one object."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.facts import Facts, facts_of
from sdpatterns.backends.redis.failures import Lost, NotSent
from sdpatterns.backends.redis.log import RedisLog
from sdpatterns.backends.redis.names import cell_space
from sdpatterns.backends.redis.queue import RedisQueue
from sdpatterns.backends.redis.resources import RedisResources
from sdpatterns.backends.redis.scripts import compare_and_set
from sdpatterns.backends.redis.server import Server
from sdpatterns.backends.redis.signals import RedisSignals
from sdpatterns.backends.redis.sources import Source, settings_of
from sdpatterns.backends.redis.states import RedisStates
from sdpatterns.backends.redis.streams import RedisStreamTarget
from sdpatterns.core.envelope import EnvelopeMode, Event
from sdpatterns.core.judging import plain
from sdpatterns.core.runtime import Runtime, finish
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.lifespan import Lifespan
from sdpatterns.ports.log import LogSettings
from sdpatterns.ports.pressure import Pressure
from sdpatterns.ports.queue import QueueSettings

__all__ = ["RedisBackend"]

_OLDEST = (6, 2)
_QUEUE_SETTINGS = QueueSettings()
_LOG_SETTINGS = LogSettings()


class RedisBackend(Lifespan):
    """Keeps the state, signals, queues and logs of patterns on a Redis or Valkey server, or on a cluster.

    Keeps what a port promises as long as the server keeps its data: with `appendfsync everysec`,
    the default of most servers that persist at all, a crash loses the last second of writes.
    Built at import time it opens nothing; connections open at first use, one set for each event
    loop and process. `async with backend:` (`with` for a blocking one) closes those of the loop.

    May fail with `ValueError` for a bad setting, at once.
    """

    def __init__(
        self,
        source: Source,
        *,
        blocking: bool | None = None,
        cluster: bool = False,
        prefix: str = "sdp",
        timeout_s: float = 5.0,
        connections_max: int = 16,
        random: Callable[[], float] = random.random,
        warns_of_loss: bool = True,
    ) -> None:
        """A backend for the server at a URL, or at the one that a client of redis-py is set up for.

        `source`: `redis://`, `rediss://` or `unix://`, with redis-py's options; or a `redis.Redis` or
        `redis.asyncio.Redis`: its settings are copied (its credential provider too), and its
        connections are not used. `blocking` is for programs without an event loop; their threads share
        `connections_max` connections. With a client, its class decides. `cluster` when the server is a
        node of a Redis Cluster. `prefix` begins every key. `timeout_s` bounds how long one reply is
        waited for. `random` gives the jitter between two tries. `warns_of_loss=False` where the server
        may lose what it has answered, and that is meant: else a quota or an idempotency that relies on
        such a server is worth one warning.
        """
        self._resources = RedisResources(
            Server(
                **settings_of(source, blocking=blocking),
                cluster=cluster,
                prefix=prefix,
                timeout_s=timeout_s,
                connections_max=connections_max,
                random=plain("random", random),
                warns_of_loss=warns_of_loss,
            )
        )
        self.states = RedisStates(self._resources)
        self.signals = RedisSignals(self._resources)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        blocking: bool = False,
        cluster: bool = False,
        prefix: str = "sdp",
        timeout_s: float = 5.0,
        connections_max: int = 16,
        random: Callable[[], float] = random.random,
        warns_of_loss: bool = True,
    ) -> Self:
        """The same as `RedisBackend(url, ...)`."""
        return cls(
            url,
            blocking=blocking,
            cluster=cluster,
            prefix=prefix,
            timeout_s=timeout_s,
            connections_max=connections_max,
            random=random,
            warns_of_loss=warns_of_loss,
        )

    @property
    def runtime(self) -> Runtime:
        """The runtime that its connections need."""
        return self._resources.server.runtime

    def queue(self, name: str, /, settings: QueueSettings = _QUEUE_SETTINGS) -> RedisQueue:
        """The queue of that name. Opens nothing; the same name is the same queue."""
        return RedisQueue(self._resources, name, settings)

    def log(self, name: str, /, settings: LogSettings = _LOG_SETTINGS) -> RedisLog:
        """The log of that name. Opens nothing; the same name is the same log."""
        return RedisLog(self._resources, name, settings, self.signals)

    def stream_target(
        self,
        stream: str | Callable[[Event], str],
        *,
        mode: EnvelopeMode = "structured",
        dedupe_s: float = 120.0,
        entries_max: int = 1_000_000,
    ) -> RedisStreamTarget:
        """Where a relay takes events: a stream of the server, by its whole name. Opens nothing."""
        return RedisStreamTarget(self._resources, stream, mode=mode, dedupe_s=dedupe_s, entries_max=entries_max)

    async def create(self) -> None:
        """See that the server answers and can do what is needed. Nothing has to be made there.

        May fail with `BackendUnavailable`, in one line that names the URL and the fix: also where the
        server is a replica or its user lacks a permission.
        """
        server, here = self._resources.server, self._resources.here()
        cell = cell_space(server.prefix, "create", None)
        try:
            facts = await facts_of(here.seed)
            self._check(facts)
            # A write that changes nothing: a server that refuses it would refuse every step.
            await compare_and_set(server.prefix).run(here.sender, [cell], (b"", b"", b"-", b"0"))
        except (Lost, ResponseError) as cause:
            raise server.failure(NotSent(cause) if isinstance(cause, Lost) else cause) from cause
        if self._resources.durability.is_due:
            await self._resources.durability.ask(here.seed)

    def _check(self, facts: Facts) -> None:
        shown, cluster = self._resources.server.shown, self._resources.server.cluster
        if facts.version is not None and facts.version < _OLDEST:
            version = ".".join(map(str, facts.version))
            raise BackendUnavailable(f"{shown} runs version {version}; Redis 6.2, Valkey 7.2 or newer is needed")
        if facts.is_cluster is not None and facts.is_cluster is not cluster:
            word = "a cluster: pass" if not cluster else "no cluster: leave out"
            raise BackendUnavailable(f"{shown} is {word} cluster=True")

    def pressure(self) -> Pressure:
        """How busy its connections in this process are: see `observability.resources.of_backend`."""
        return self._resources.pressure()

    def shift(self, seconds: float) -> None:
        """Move the store's time, as this object sees it, for tests."""
        self._resources.shift_us = str(int(self._resources.shift_us) + round(seconds * 1_000_000))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._resources.close()

    def __enter__(self) -> Self:
        if not self._resources.server.blocking:
            raise TypeError("use 'async with', or build the backend with blocking=True")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        finish(self._resources.close())
