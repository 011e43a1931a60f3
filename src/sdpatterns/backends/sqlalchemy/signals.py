"""Announcements: NOTIFY on Postgres, a changed file on SQLite, and a fan-out to this process's ears."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

from sdpatterns.backends.sqlalchemy.calls import Call
from sdpatterns.backends.sqlalchemy.homes import Home
from sdpatterns.backends.sqlalchemy.postgres import payload
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import ManyStep, Repeats
from sdpatterns.ports.fanout import LocalSignals

__all__ = ["SQLSignals"]


class Announce:
    """A step on no cell at all that wakes."""

    repeats: ClassVar[Repeats] = "harmless"
    twin = None

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def __call__(self, states: Sequence[Any], now_us: int, /) -> ManyStep[Any, None]:
        return (), None, (), self._topics


class SQLEar:
    """See `Ear`."""

    def __init__(self, bus: SQLSignals, topics: tuple[str, ...]) -> None:
        self._bus = bus
        self._ear = bus.local.listen(*map(payload, topics))

    async def __aenter__(self) -> Self:
        # The local ear first: from the moment the connection listens, nothing is missed.
        await self._ear.__aenter__()
        try:
            await self._bus.hear()
            # Whatever rang so far was for what came before.
            await self._ear.wait(0.0)
        except BaseException:
            await self._ear.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ear.__aexit__(kind, error, trace)

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Park until a topic was announced since the last wait (True), or time is up (False)."""
        return await self._ear.wait(timeout_s)


class SQLSignals:
    """Sends signals between all processes that use the same database: see `SignalBus`.

    May fail: `announce` and entering an ear with `BackendUnavailable`. **Costs**: an announcement is
    folded with the steps of its loop turn. An ear costs nothing on Postgres beyond the one
    connection that listens for the loop; on SQLite a look at the file every 50 ms while anybody
    listens, and what another process writes rings every ear.
    """

    def __init__(
        self, runtime: Runtime, home: Callable[[], Home], run: Callable[[Call], Coroutine[Any, Any, Any]]
    ) -> None:
        self.runtime: Runtime | None = runtime
        self.local = LocalSignals()
        self._home = home
        self._run = run

    async def announce(self, *topics: str) -> None:
        """Wake all that listen to one of the topics."""
        if topics:
            await self._run(Call((), IntegersCodec(), Announce(topics), many=True))

    def listen(self, *topics: str) -> SQLEar:
        """An ear for these topics, to be entered with `async with`."""
        return SQLEar(self, topics)

    def ring(self, topics: Sequence[str]) -> None:
        """Wake the ears of this process."""
        self.local.ring(map(payload, topics))

    async def hear(self) -> None:
        """Hear other clients from now on."""
        await self._home().hear()
