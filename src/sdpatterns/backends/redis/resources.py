"""What one event loop (or, without loops, one process) holds: connections, batchers, a listener."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from sdpatterns.backends.redis.cluster import ClusterSender
from sdpatterns.backends.redis.connection import PipelinedConnection
from sdpatterns.backends.redis.durability import Durability
from sdpatterns.backends.redis.listener import RedisConnector
from sdpatterns.backends.redis.pool import Pool
from sdpatterns.backends.redis.scripts import StepCall, StepScript
from sdpatterns.backends.redis.sender import Sender
from sdpatterns.backends.redis.server import Node, Server
from sdpatterns.ports.engine.batcher import Batcher, TaskBatcher
from sdpatterns.ports.engine.lines import Lines, behind
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
        self.lines = Lines(loop, at_most=_STEPS_MAX)
        self._steps: dict[StepScript, Batcher[StepCall, Any]] = {}
        self.seed = self._connect_to(None)
        self.sender: Sender = self.seed
        if server.cluster:
            self.sender = ClusterSender(self.seed, self._connect_to, self.lines.batcher, server)
        self.pushes: dict[str, Callable[[bytes], None]] = {}
        """What takes the messages of topics that begin with `PUSHES`."""
        kind = ThreadListener if loop is None else TaskListener
        self.listener = kind(RedisConnector(server, self.pushes), LocalSignals(), server.random)

    def _connect_to(self, node: Node | None) -> Sender:
        return Pool(self.server, node) if self.loop is None else PipelinedConnection(self.server, node)

    def step(self, script: StepScript, call: StepCall) -> Coroutine[Any, Any, Any]:
        """The reply to one step; on one server, those of one turn are one call of the script."""
        # Threads block on a connection each, and the keys of several callers live on several nodes of a cluster.
        if self.loop is None or self.server.cluster:
            return script.step(self.sender, call)
        steps = self._steps.get(script)
        if steps is None:
            one, work = functools.partial(script.step, self.sender), functools.partial(script.steps, self.sender)
            steps = self._steps[script] = TaskBatcher(work, one=one, at_most=_CALLS_MAX, behind=behind)
        return steps.run(call)

    def pressure(self) -> Pressure:
        """How busy its connections are, and how many steps wait for their turn."""
        waiting = self.lines.waiting + sum(steps.waiting for steps in tuple(self._steps.values()))
        return sum_of([self.sender.pressure()], waiting=waiting)

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
