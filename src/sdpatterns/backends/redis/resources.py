"""What one event loop (or, without loops, one process) holds: connections, batchers, a listener."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from sdpatterns.backends.redis.cluster import ClusterSender
from sdpatterns.backends.redis.connection import PipelinedConnection
from sdpatterns.backends.redis.durability import Durability
from sdpatterns.backends.redis.failures import NotSent, behind
from sdpatterns.backends.redis.listener import RedisConnector
from sdpatterns.backends.redis.pool import Pool
from sdpatterns.backends.redis.scripts import StepCall, StepScript
from sdpatterns.backends.redis.sender import Sender
from sdpatterns.backends.redis.server import Node, Server
from sdpatterns.ports.engine.batcher import Batcher, TaskBatcher, ThreadBatcher, Work
from sdpatterns.ports.engine.listener import TaskListener, ThreadListener
from sdpatterns.ports.engine.resources import Resources
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.pressure import Pressure, sum_of

__all__ = ["RedisLoopResources", "RedisResources"]

_STEPS_MAX = 256
_CALLS_MAX = 128  # a script runs alone on its server: half a millisecond is long enough


class RedisLoopResources:
    """What is open here. `seed` reaches the URL's own server, `sender` the one that has a key."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.server = server
        self._writers: dict[Any, Batcher[Any, Any]] = {}
        self._steps: dict[StepScript, Batcher[StepCall, Any]] = {}
        self.seed = self._connect_to(None)
        self.sender: Sender = self.seed
        if server.cluster:
            self.sender = ClusterSender(self.seed, self._connect_to, self._batcher, server)
        kind = ThreadListener if loop is None else TaskListener
        self.listener = kind(RedisConnector(server), LocalSignals(), server.random)

    def _connect_to(self, node: Node | None) -> Sender:
        return Pool(self.server, node) if self.loop is None else PipelinedConnection(self.server, node)

    def _batcher(self, work: Work[Any, Any], at_rest: Callable[[], object] = bool) -> Batcher[Any, Any]:
        if self.loop is None:
            return ThreadBatcher(work, at_most=_STEPS_MAX, behind=behind)
        return TaskBatcher(work, at_most=_STEPS_MAX, behind=behind, at_rest=at_rest)

    async def in_line(self, line: Any, step: Any, work: Work[Any, Any]) -> Any:
        """What `work` makes of the step, alone or together with others in the same line."""
        # A batcher exists only while its line has work, because a program has more keys than it uses at a time.
        writer = self._writers.get(line)
        if writer is None:
            forget = functools.partial(self._writers.pop, line, None)
            writer = self._writers.setdefault(line, self._batcher(work, forget))
        try:
            return await writer.run(step)
        finally:
            # Among threads two batchers of one line may overlap for a moment. Their writes then race like those
            # of two processes.
            if writer.idle and self._writers.get(line) is writer:
                self._writers.pop(line, None)

    def send_away(self, line: Any, away: NotSent) -> None:
        """Fail those who wait in this line."""
        writer = self._writers.get(line)
        if writer is not None:
            writer.send_away(lambda _: NotSent(away.cause))

    async def step(self, script: StepScript, call: StepCall) -> Any:
        """The reply to one step; on one server, those of one turn are one call of the script."""
        # Threads block on a connection each, and the keys of several callers live on several nodes of a cluster.
        if self.loop is None or self.server.cluster:
            [reply] = await script.steps(self.sender, (call,))
            return reply
        steps = self._steps.get(script)
        if steps is None:
            work = functools.partial(script.steps, self.sender)
            steps = self._steps[script] = TaskBatcher(work, at_most=_CALLS_MAX, behind=behind)
        return await steps.run(call)

    def pressure(self) -> Pressure:
        """How busy its connections are, and how many steps wait for their turn."""
        batchers = (*tuple(self._writers.values()), *tuple(self._steps.values()))
        return sum_of([self.sender.pressure()], waiting=sum(batcher.waiting for batcher in batchers))

    async def close(self) -> None:
        """Close everything."""
        await self.listener.stop()
        await self.sender.close()


class RedisResources(Resources[RedisLoopResources]):
    """See `Resources`; and what is known of the server."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.shown, blocking=server.blocking)
        self.server = server
        self.durability = Durability(server)
        self.shift_us = "0"

    def _make(self, loop: asyncio.AbstractEventLoop | None, /) -> RedisLoopResources:
        return RedisLoopResources(self.server, loop)

    def pressure(self) -> Pressure:
        """That of all resources whose loop has not ended."""
        return sum_of(here.pressure() for here in self.all_open())
