"""A whole backend for asyncio: all that is the same for each server whose client needs an event loop.

```
your backend --> LoopBackend --states---> VersionedStates --> your map  --\
                      |       --signals--> RemoteSignals                    > your connection, one for each loop
                      └--> lines and listener of each loop --> your connector
```
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from sdpatterns.core.judging import plain
from sdpatterns.core.runtime import ASYNCIO, Runtime
from sdpatterns.errors import BackendUnavailable, SdpatternsError
from sdpatterns.ports.engine.failures import Lost
from sdpatterns.ports.engine.lines import Lines
from sdpatterns.ports.engine.listener import TaskListener
from sdpatterns.ports.engine.remote import RemoteSignals
from sdpatterns.ports.engine.resources import Resources
from sdpatterns.ports.engine.source import Connector
from sdpatterns.ports.engine.store import VersionedStates
from sdpatterns.ports.engine.versioned import VersionedMap
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.lifespan import Lifespan
from sdpatterns.ports.pressure import Pressed, Pressure, sum_of
from sdpatterns.ports.timekeeping import StoreClock

__all__ = ["LoopBackend", "LoopConnection", "Looped", "NotedSource", "ShiftedMap", "away", "failure_of"]


class LoopConnection(Pressed, Protocol):
    """The calls of one event loop to a server."""

    async def notify(self, topics: Sequence[str], /) -> None:
        """Send signals. Raises `Lost`."""

    async def close(self) -> None:
        """Close it, without waiting for a server that does not answer. It may be used again."""


class ShiftedMap(VersionedMap, Protocol):
    """A versioned map whose time tests may move."""

    shift_us: int


C = TypeVar("C", bound=LoopConnection)


def away(cause: object) -> str:
    """What to say of a server that can't be reached."""
    return f"it is away ({cause}); start the server there or correct the URL"


def failure_of(shown: str, error: Exception) -> SdpatternsError:
    """What a caller gets whose request did nothing: what the store has said, or that it is away."""
    cause = error.cause if isinstance(error, Lost) else error
    return cause if isinstance(cause, SdpatternsError) else BackendUnavailable(f"{shown}: {cause}")


class Looped(Generic[C]):
    """What one event loop holds open."""

    def __init__(self, connection: C, connector: Connector, random: Callable[[], float]) -> None:
        self.connection = connection
        self.random = random
        self.lines = Lines(asyncio.get_running_loop())
        self.listener = TaskListener(connector, LocalSignals(), random)

    def pressure(self) -> Pressure:
        """How busy its connection is, and how many steps wait for their turn."""
        return sum_of([self.connection.pressure()], waiting=self.lines.waiting)

    async def close(self) -> None:
        """Close everything."""
        await self.listener.stop()
        await self.connection.close()


class _LoopResources(Resources[Looped[C]]):
    def __init__(self, shown: str, make: Callable[[], Looped[C]]) -> None:
        super().__init__(shown, blocking=False)
        self._build = make

    def _make(self, loop: asyncio.AbstractEventLoop | None, /) -> Looped[C]:
        return self._build()


class LoopBackend(Lifespan, Generic[C]):
    """See the module. `cells` gets a function that finds the connection of the running loop.

    Built at import time it opens nothing; what it opens belongs to the running loop and process, and
    `async with backend:` closes it.
    """

    def __init__(
        self,
        *,
        shown: str,
        clock: StoreClock,
        cells: Callable[[Callable[[], C]], ShiftedMap],
        connect: Callable[[], C],
        connector: Connector,
        random: Callable[[], float],
    ) -> None:
        random = plain("random", random)
        self._resources = _LoopResources(shown, lambda: Looped(connect(), connector, random))
        self._map = cells(self._connection)
        self.states = VersionedStates(
            self._map,
            runtime=ASYNCIO,
            clock=clock,
            shown=shown,
            random=random,
            lines=lambda: self._resources.here().lines,
        )
        self.signals = RemoteSignals(
            ASYNCIO,
            find=lambda: self._resources.here().listener,
            send=lambda topics: self._connection().notify(topics),
            failure=lambda error: failure_of(shown, error),
        )

    def _connection(self) -> C:
        return self._resources.here().connection

    @property
    def runtime(self) -> Runtime:
        """The runtime that its connections need."""
        return ASYNCIO

    def pressure(self) -> Pressure:
        """How busy its connections in this process are: see `observability.resources.of_backend`."""
        return sum_of(here.pressure() for here in self._resources.all_open())

    def shift(self, seconds: float) -> None:
        """Move the store's time, as this object sees it, for tests."""
        self._map.shift_us += round(seconds * 1_000_000)

    async def create(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.close()


class NotedSource(ABC):
    """A `Source` for an event loop whose client hands over news as they come.

    What is asked for is noted, and done by the task that owns the connection, because `ask` must not wait.
    """

    def __init__(self, news: asyncio.Event | None = None) -> None:
        self._news = asyncio.Event() if news is None else news
        self._wanted: list[tuple[Sequence[str], Sequence[str]]] = []

    @abstractmethod
    async def change(self, add: Sequence[str], drop: Sequence[str], /) -> None:
        """Ask the server for channels, and to leave others."""

    @abstractmethod
    def broken(self) -> Exception | None:
        """What the connection has broken of; None while it is open."""

    def ask(self, add: Sequence[str], drop: Sequence[str], /) -> Sequence[str]:
        """Noted. The server confirms each channel."""
        self._wanted.append((add, drop))
        self._news.set()
        return ()

    async def receive(self, within_s: float, /) -> bool:
        """Do what was asked for, and wait for news, which are told as they come."""
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        error = self.broken()
        if error is not None:
            raise error
        while self._wanted:
            await self.change(*self._wanted.pop(0))
        return True

    def interrupt(self) -> None:
        """Nothing: what changes is asked for from the loop itself."""
        return
