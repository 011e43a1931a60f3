"""What one event loop (or, without loops, one process) holds: connections, lines, a listener."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from sdpatterns.backends.redis.cluster import ClusterWire
from sdpatterns.backends.redis.durability import Durability
from sdpatterns.backends.redis.failures import NotSent
from sdpatterns.backends.redis.lane import Lane, ThreadLane, Work
from sdpatterns.backends.redis.link import Link
from sdpatterns.backends.redis.listener import RedisConnector
from sdpatterns.backends.redis.pool import Pool
from sdpatterns.backends.redis.scripts import Job, StepScript
from sdpatterns.backends.redis.target import Node, Target
from sdpatterns.backends.redis.wire import Line, Wire
from sdpatterns.core.forks import drop_in_child, new_lock
from sdpatterns.ports.engine.listener import TaskListener, ThreadListener
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.pressure import Pressure, sum_of

__all__ = ["Site", "Sites"]

_WISHES_MAX = 256
_JOBS_MAX = 128  # a script runs alone on its server: half a millisecond is long enough


class Site:
    """What stands here. `seed` is the way to the URL's own server, `wire` to the one that has a key."""

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.target = target
        self._lines: dict[Any, Line] = {}
        self._steps: dict[StepScript, Line] = {}
        self.seed = self._dial(None)
        self.wire: Wire = ClusterWire(self.seed, self._dial, self._lane, target) if target.cluster else self.seed
        kind = ThreadListener if loop is None else TaskListener
        self.listener = kind(RedisConnector(target), LocalSignals(), target.random)
        self._end: AsyncGenerator[None, None] | None = None
        if loop is not None:
            self._end = _until_the_loop_ends(self._close)
            # Run to its first yield, so that the loop knows it and ends it before it closes.
            with contextlib.suppress(StopIteration):
                self._end.__anext__().send(None)

    def _dial(self, node: Node | None) -> Wire:
        return Pool(self.target, node) if self.loop is None else Link(self.target, node)

    def _lane(self, work: Work[Any, Any], at_rest: Callable[[], object] = bool) -> Line:
        if self.loop is None:
            return ThreadLane(work, at_most=_WISHES_MAX)
        return Lane(work, at_most=_WISHES_MAX, at_rest=at_rest)

    async def in_line(self, place: Any, wish: Any, work: Work[Any, Any]) -> Any:
        """What `work` makes of the wish, alone or together with others in the same place."""
        line = self._lines.get(place)
        if line is None:
            forget = functools.partial(self._lines.pop, place, None)
            line = self._lines.setdefault(place, self._lane(work, forget))
        try:
            return await line.run(wish)
        finally:
            # Among threads two lines of one place may overlap for a moment; their writes then race
            # like those of two processes.
            if line.idle and self._lines.get(place) is line:
                self._lines.pop(place, None)

    def send_away(self, place: Any, away: NotSent) -> None:
        """Fail those who wait in this place."""
        line = self._lines.get(place)
        if line is not None:
            line.send_away(away)

    async def step(self, script: StepScript, job: Job) -> Any:
        """The reply to one step; on one server, those of one turn are one call of the script."""
        if self.loop is None or self.target.cluster:
            [reply] = await script.steps(self.wire, (job,))
            return reply
        line = self._steps.get(script)
        if line is None:
            line = self._steps[script] = Lane(functools.partial(script.steps, self.wire), at_most=_JOBS_MAX)
        return await line.run(job)

    def pressure(self) -> Pressure:
        """How busy its connections are, and how many steps wait for their turn."""
        lines = (*tuple(self._lines.values()), *tuple(self._steps.values()))
        return sum_of([self.wire.pressure()], waiting=sum(line.waiting for line in lines))

    async def close(self) -> None:
        """Close everything."""
        await (self._close() if self._end is None else self._end.aclose())

    async def _close(self) -> None:
        await self.listener.stop()
        await self.wire.close()


async def _until_the_loop_ends(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close()


class Sites:
    """Finds the site that belongs here, and makes it at first use."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.durability = Durability(target)
        self.shift_us = "0"
        self._lock = new_lock()
        self._sites: dict[asyncio.AbstractEventLoop | None, Site] = {}
        drop_in_child(self)

    def here(self) -> Site:
        """The site of the running loop; of this process where there are no loops."""
        loop = None if self.target.blocking else asyncio.get_running_loop()
        return self._sites.get(loop) or self._open(loop)

    def _open(self, loop: asyncio.AbstractEventLoop | None) -> Site:
        with self._lock:
            for other in [other for other in self._sites if other is not None and other.is_closed()]:
                del self._sites[other]
            site = self._sites.get(loop)
            if site is None:
                site = self._sites[loop] = Site(self.target, loop)
            return site

    def pressure(self) -> Pressure:
        """That of all sites whose loop has not ended."""
        sites = tuple(self._sites.values())
        return sum_of(site.pressure() for site in sites if site.loop is None or not site.loop.is_closed())

    async def close(self) -> None:
        """Close what belongs here."""
        loop = None if self.target.blocking else asyncio.get_running_loop()
        site = self._sites.pop(loop, None)
        if site is not None:
            await site.close()

    def after_fork_in_child(self) -> None:
        """Start empty: what is open belongs to the parent and is left alone."""
        _PARENTS.append(self._sites)
        self._sites = {}


_PARENTS: list[Any] = []  # kept, because a connection that is collected may end what the parent uses
