"""What one event loop (or, without loops, one process) holds: connections, batchers, a listener."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from sdpatterns.backends.redis.cluster import ClusterWire
from sdpatterns.backends.redis.durability import Durability
from sdpatterns.backends.redis.failures import NotSent, behind
from sdpatterns.backends.redis.link import Link
from sdpatterns.backends.redis.listener import RedisConnector
from sdpatterns.backends.redis.pool import Pool
from sdpatterns.backends.redis.scripts import Job, StepScript
from sdpatterns.backends.redis.target import Node, Target
from sdpatterns.backends.redis.wire import Wire
from sdpatterns.ports.engine.batcher import Batcher, TaskBatcher, ThreadBatcher, Work
from sdpatterns.ports.engine.listener import TaskListener, ThreadListener
from sdpatterns.ports.engine.resources import Resources
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
        self._writers: dict[Any, Batcher[Any, Any]] = {}
        self._steps: dict[StepScript, Batcher[Job, Any]] = {}
        self.seed = self._dial(None)
        self.wire: Wire = ClusterWire(self.seed, self._dial, self._batcher, target) if target.cluster else self.seed
        kind = ThreadListener if loop is None else TaskListener
        self.listener = kind(RedisConnector(target), LocalSignals(), target.random)

    def _dial(self, node: Node | None) -> Wire:
        return Pool(self.target, node) if self.loop is None else Link(self.target, node)

    def _batcher(self, work: Work[Any, Any], at_rest: Callable[[], object] = bool) -> Batcher[Any, Any]:
        if self.loop is None:
            return ThreadBatcher(work, at_most=_WISHES_MAX, behind=behind)
        return TaskBatcher(work, at_most=_WISHES_MAX, behind=behind, at_rest=at_rest)

    async def in_line(self, place: Any, wish: Any, work: Work[Any, Any]) -> Any:
        """What `work` makes of the wish, alone or together with others in the same place."""
        writer = self._writers.get(place)
        if writer is None:
            forget = functools.partial(self._writers.pop, place, None)
            writer = self._writers.setdefault(place, self._batcher(work, forget))
        try:
            return await writer.run(wish)
        finally:
            # Among threads two writers of one place may overlap for a moment; their writes then race
            # like those of two processes.
            if writer.idle and self._writers.get(place) is writer:
                self._writers.pop(place, None)

    def send_away(self, place: Any, away: NotSent) -> None:
        """Fail those who wait in this place."""
        writer = self._writers.get(place)
        if writer is not None:
            writer.send_away(lambda _: NotSent(away.cause))

    async def step(self, script: StepScript, job: Job) -> Any:
        """The reply to one step; on one server, those of one turn are one call of the script."""
        if self.loop is None or self.target.cluster:
            [reply] = await script.steps(self.wire, (job,))
            return reply
        steps = self._steps.get(script)
        if steps is None:
            work = functools.partial(script.steps, self.wire)
            steps = self._steps[script] = TaskBatcher(work, at_most=_JOBS_MAX, behind=behind)
        return await steps.run(job)

    def pressure(self) -> Pressure:
        """How busy its connections are, and how many steps wait for their turn."""
        batchers = (*tuple(self._writers.values()), *tuple(self._steps.values()))
        return sum_of([self.wire.pressure()], waiting=sum(batcher.waiting for batcher in batchers))

    async def close(self) -> None:
        """Close everything."""
        await self.listener.stop()
        await self.wire.close()


class Sites(Resources[Site]):
    """See `Resources`; and what is known of the server."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.shown, blocking=target.blocking)
        self.target = target
        self.durability = Durability(target)
        self.shift_us = "0"

    def _make(self, loop: asyncio.AbstractEventLoop | None, /) -> Site:
        return Site(self.target, loop)

    def pressure(self) -> Pressure:
        """That of all sites whose loop has not ended."""
        return sum_of(site.pressure() for site in self.all_open())
