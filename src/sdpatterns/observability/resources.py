"""How much of a resource is used, how much waits for it, and how often it failed: read at each scrape.

```
lag = LoopLag("shop")
resources = [of_bulkhead(slots), of_pool("orders", engine.pool), lag.reading]
REGISTRY.register(ResourceCollector(resources))        # in observability.prometheus
async with lag: ...
```

| resource | utilisation | saturation | errors |
|---|---|---|---|
| `of_bulkhead` | slots taken of all | calls in the queue | its notice `SlotRefused` |
| `of_pool` (SQLAlchemy's) | connections out of those allowed | those beyond its size | spans of statements |
| `of_redis_pool` (redis-py's) | connections out of those allowed | | spans of commands |
| `of_backend` (ours) | connections at work of those allowed | steps that wait for one | times that one broke |
| `of_projection` | | positions of the log that it has not applied | its notice `StreamParked` |
| `LoopLag` | | seconds by which the loop is late | times it was `stall_s` late |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

from sdpatterns.core.clock import SYSTEM
from sdpatterns.ports.pressure import Pressed

__all__ = ["LoopLag", "Reading", "Resource", "of_backend", "of_bulkhead", "of_pool", "of_projection", "of_redis_pool"]


class Reading(NamedTuple):
    """A resource as it is now. A value that is unknown is None."""

    kind: str
    name: str
    used: float | None = None
    capacity: float | None = None
    waiting: float | None = None
    errors: float | None = None


Resource: TypeAlias = Callable[[], Reading]
"""Gives a reading; quick, from any thread, and never waits."""


class _Slots(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def concurrent_max(self) -> int: ...
    def occupancy(self) -> tuple[int, int]: ...


class _QueuePool(Protocol):
    def checkedout(self) -> int: ...
    def size(self) -> int: ...
    def overflow(self) -> int: ...


class _Lag(Protocol):
    @property
    def positions(self) -> int: ...


class _Lagging(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    def last_lag(self) -> _Lag | None: ...


def of_bulkhead(bulkhead: _Slots) -> Resource:
    """The slots and the queue of a `Bulkhead` without a key."""

    def reading() -> Reading:
        running, waiting = bulkhead.occupancy()
        return Reading("bulkhead", bulkhead.name, running, bulkhead.concurrent_max, waiting)

    return reading


def of_backend(name: str, backend: Pressed) -> Resource:
    """The connections of a `RedisBackend` or an `SQLBackend` in this process, and the steps that wait for them."""

    def reading() -> Reading:
        used, capacity, waiting, errors = backend.pressure()
        return Reading("backend", name, used, capacity, waiting, errors)

    return reading


def of_projection(projection: _Lagging) -> Resource:
    """How far a `Projection` is behind its log: in the process whose runner holds it, at its last look."""

    def reading() -> Reading:
        lag = projection.last_lag()
        return Reading(
            "projection", f"{projection.name}/{projection.version}", waiting=None if lag is None else lag.positions
        )

    return reading


def of_pool(name: str, pool: _QueuePool) -> Resource:
    """A pool of SQLAlchemy's with a size, such as `engine.pool`. An overflow in use means that it is too small."""

    def reading() -> Reading:
        size, beyond = pool.size(), getattr(pool, "_max_overflow", 0)
        capacity = None if beyond < 0 or size == 0 else size + beyond
        return Reading("sqlalchemy_pool", name, pool.checkedout(), capacity, max(0, pool.overflow()))

    return reading


def of_redis_pool(name: str, pool: Any) -> Resource:
    """A `ConnectionPool` of redis-py's, such as `client.connection_pool`."""

    def reading() -> Reading:
        used = len(pool._in_use_connections)  # noqa: SLF001 - the one place where redis-py says it
        return Reading("redis_pool", name, used, pool.max_connections)

    return reading


class LoopLag:
    """How late the running event loop is: what a call that blocks does to all the others.

    `async with` it in the program's start-up; it wakes every `every_s` and takes the time. The
    lateness that it reports is the largest of the last two wake-ups.

    **Keeps**: one task, which ends with the block. **May fail** with nothing. **Costs** one timer.
    """

    def __init__(self, name: str, *, every_s: float = 0.5, stall_s: float = 0.1) -> None:
        for field, value in (("every_s", every_s), ("stall_s", stall_s)):
            if not value > 0:
                raise ValueError(f"{field} must be above 0, got {value!r}")
        self.name = name
        self._every_s = every_s
        self._stall_s = stall_s
        self._late_s = (0.0, 0.0)
        self._stalls = 0
        self._task: asyncio.Task[None] | None = None

    def reading(self) -> Reading:
        """The lateness in seconds as `waiting`, and the stalls so far as `errors`."""
        return Reading("event_loop", self.name, waiting=max(self._late_s), errors=self._stalls)

    async def __aenter__(self) -> Self:
        """Begin to watch the running loop."""
        self._task = asyncio.create_task(self._watch(), name=f"loop lag {self.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        while True:
            due = SYSTEM.monotonic() + self._every_s
            await asyncio.sleep(self._every_s)
            late_s = max(0.0, SYSTEM.monotonic() - due)
            self._late_s = (self._late_s[1], late_s)
            self._stalls += late_s >= self._stall_s
