"""Cells on Redis: by a Lua script in one trip, by compare-and-set in two for any other transition."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost, NotSent
from sdpatterns.backends.redis.names import cell_name, cell_space
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.resources import RedisResources
from sdpatterns.backends.redis.scripts import StepCall, step_script
from sdpatterns.backends.redis.versioned import RedisAttempts, found_in
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import Script
from sdpatterns.core.tracing import TRACERS, stepped_in_span
from sdpatterns.ports.engine.execute import execute
from sdpatterns.ports.engine.failures import repeat
from sdpatterns.ports.engine.steps import Drop, PendingStep, Snapshot, apply_steps
from sdpatterns.ports.states import Cells, Space
from sdpatterns.ports.timekeeping import SERVER, StoreClock

__all__ = ["RedisCells", "RedisStates"]

S = TypeVar("S")

_MANY = b""
"""The line in which steps on several cells wait; no cell has this name."""


class RedisCells(Cells[S]):
    """See `Cells`. A step is decided by the server's time, and happens there or nowhere.

    Costs: one round trip for a transition with a script, two for any other (and one more for each
    conflict with another process); in the server one key of about 100 bytes and the state.
    """

    def __init__(self, resources: RedisResources, space: Space[S]) -> None:
        self.space = space
        self._resources = resources
        self._attempts = RedisAttempts(resources)
        self._prefix = cell_space(resources.server.prefix, space.name, space.group)
        version = getattr(space.codec, "version", None)
        self._head = f"{version}:" if isinstance(version, int) else None

    def run(self, step: PendingStep, /) -> Coroutine[Any, Any, Any]:
        """Make one step, and give its answer."""
        # Not a coroutine itself, because the one that it returns is enough.
        step.names = names = tuple([cell_name(self._prefix, key) for key in step.keys])
        script = step.transition.script
        if step.reads:
            verb, work = "read", self._read(step)
        elif isinstance(step.transition, Drop):
            verb, work = "delete", self._delete(names)
        else:
            if len(names) > 1 and self._resources.server.cluster and self.space.group is None:
                raise TypeError(
                    f"steps on several cells of {self.space.name!r} need Space(..., group=...) on a cluster"
                )
            verb = "transact" if len(names) == 1 else "transact_many"
            work = (
                self._by_script(step, script)
                if script is not None and self._head is not None
                else self._by_attempts(step)
            )
        # Nothing that instruments redis-py sees our commands: they go past its clients.
        return stepped_in_span(verb, self.space.name, self._resources.server.facts, work) if TRACERS else work

    async def _by_script(self, step: PendingStep, script: Script[Any]) -> Any:
        args, names = script.args(), step.names
        of_server = step_script(script.source, self._head or "", self._resources.server.channel)
        call = StepCall(names, args, self._resources.shift_us)
        here = self._resources.here()
        try:
            try:
                reply = await here.step(of_server, call)
            except Lost as lost:
                harmless = step.transition.repeats == "harmless"
                reply = await repeat(lost, lambda: here.step(of_server, call), harmless=harmless)
        except (Lost, ResponseError) as error:
            raise self._resources.server.failure(error) from error
        if self._resources.durability.is_due:
            await self._resources.durability.ask(here.seed)
        if isinstance(reply, list):
            return script.answer(reply)
        # The script failed, or (0) the cell's state has another version: Python may know how to read that.
        if isinstance(reply, bytes):
            raise self._resources.server.failure(
                ResponseError(reply.decode(errors="replace")), f"the script {script.name} failed"
            )
        return await self._by_attempts(step)

    async def _by_attempts(self, step: PendingStep) -> Any:
        here = self._resources.here()
        try:
            await here.lines.run(self._line(step), step, self._settle)
        except NotSent as away:
            raise self._resources.server.failure(away) from away
        if self._resources.durability.is_due and step.error is None:
            await self._resources.durability.ask(here.seed)
        return step.result()

    def _line(self, step: PendingStep) -> tuple[object, bytes]:
        # One line for each cell: the writers of one process never race each other.
        return self, _MANY if len(step.names) > 1 else step.names[0]

    async def _settle(self, steps: Sequence[PendingStep]) -> Sequence[PendingStep]:
        """The steps, each with its answer or its error, all written in one compare-and-set."""
        late = await execute(self._attempts, steps)
        if late is not None:
            # They have waited for as long as these steps did, which is as long as one may.
            self._resources.here().lines.send_away(self._line(steps[0]), NotSent(late.cause))
        return steps

    async def _read(self, step: PendingStep) -> Any:
        names = step.names
        if self._resources.server.cluster and self.space.group is None:
            # The keys may live on different nodes, and MGET takes those of one slot only.
            values = await self._plain([(pack("GET", name), name) for name in names], leaves_doubt=False)
        else:
            [values] = await self._plain([(pack("MGET", *names), names[0])], leaves_doubt=False)
        found = {name: found_in(value) for name, value in zip(names, values, strict=True)}
        apply_steps([step], Snapshot(found, 0))
        return step.result()

    async def _delete(self, names: Sequence[bytes]) -> None:
        await self._plain([(pack("DEL", name), name) for name in names], leaves_doubt=True)

    async def _plain(self, commands: Sequence[tuple[bytes, bytes]], *, leaves_doubt: bool) -> list[Any]:
        # Reading twice or deleting twice does what once does.
        sender = self._resources.here().sender
        try:
            try:
                return await sender.call_all(commands)
            except Lost as lost:
                return await repeat(lost, lambda: sender.call_all(commands), leaves_doubt=leaves_doubt)
        except (Lost, ResponseError) as error:
            raise self._resources.server.failure(error) from error


class RedisStates:
    """Keeps state on a Redis or Valkey server: see `StateStore`.

    `keys_max` and `overflow` of a space do not apply: the server holds the cells, so that its own
    `maxmemory` is the bound.
    """

    clock: StoreClock = SERVER

    def __init__(self, resources: RedisResources) -> None:
        self.runtime: Runtime | None = resources.server.runtime
        self._resources = resources

    def cells(self, space: Space[S], /) -> RedisCells[S]:
        """The cells of a space."""
        return RedisCells(self._resources, space)

    def relied_on_by(self, who: str, /) -> None:
        """See `ForgetfulStore`: at the first step that the server answers, or at `create()`."""
        self._resources.durability.relied_on_by(who)
