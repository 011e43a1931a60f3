"""Cells on Redis: by a Lua script in one trip, by compare-and-set in two for any other transition."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost, NotSent, ReplyLost
from sdpatterns.backends.redis.names import cell_name, cell_space
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.scripts import Job, step_script
from sdpatterns.backends.redis.sites import Sites
from sdpatterns.backends.redis.versioned import RedisAttempts, found_in
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import Script
from sdpatterns.core.tracing import TRACERS, stepped_in_span
from sdpatterns.errors import OutcomeUnknown
from sdpatterns.ports.engine.execute import execute
from sdpatterns.ports.engine.steps import Drop, PendingStep, Snapshot, apply_steps
from sdpatterns.ports.states import Cells, Space

__all__ = ["RedisCells", "RedisStates"]

S = TypeVar("S")

_MANY = b""
"""The line in which steps on several cells wait; no cell has this name."""


class RedisCells(Cells[S]):
    """See `Cells`. A step is decided by the server's time, and happens there or nowhere.

    Costs: one round trip for a transition with a script, two for any other (and one more for each
    conflict with another process); in the server one key of about 100 bytes and the state.
    """

    def __init__(self, sites: Sites, space: Space[S]) -> None:
        self.space = space
        self._sites = sites
        self._attempts = RedisAttempts(sites)
        self._prefix = cell_space(sites.target.prefix, space.name, space.group)
        version = getattr(space.codec, "version", None)
        self._head = f"{version}:" if isinstance(version, int) else None

    def run(self, step: PendingStep, /) -> Coroutine[Any, Any, Any]:
        """Make one step, and give its answer."""
        step.names = names = tuple([cell_name(self._prefix, key) for key in step.keys])
        script = step.transition.script
        if step.reads:
            verb, work = "read", self._read(step)
        elif isinstance(step.transition, Drop):
            verb, work = "delete", self._delete(names)
        else:
            if len(names) > 1 and self._sites.target.cluster and self.space.group is None:
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
        return stepped_in_span(verb, self.space.name, self._sites.target.facts, work) if TRACERS else work

    async def _by_script(self, step: PendingStep, script: Script[Any]) -> Any:
        args, names = script.args(), step.names
        of_server = step_script(script.source, self._head or "", self._sites.target.channel)
        job = Job(names, args, self._sites.shift_us)
        site = self._sites.here()
        try:
            reply = await site.step(of_server, job)
        except (Lost, ResponseError) as error:
            if not isinstance(error, ReplyLost) or error.is_late or step.transition.repeats != "harmless":
                raise self._sites.target.failure(error) from error
            try:
                reply = await site.step(of_server, job)
            except (Lost, ResponseError) as again:
                # The first one may have happened all the same.
                raise OutcomeUnknown(self._sites.target.unknown(again)) from again
        if self._sites.durability.is_due:
            await self._sites.durability.ask(site.seed)
        if isinstance(reply, list):
            return script.answer(reply)
        if isinstance(reply, bytes):
            raise self._sites.target.failure(
                ResponseError(reply.decode(errors="replace")), f"the script {script.name} failed"
            )
        return await self._by_attempts(step)

    async def _by_attempts(self, step: PendingStep) -> Any:
        site = self._sites.here()
        try:
            await site.in_line(self._place(step), step, self._settle)
        except NotSent as away:
            raise self._sites.target.failure(away) from away
        if self._sites.durability.is_due and step.error is None:
            await self._sites.durability.ask(site.seed)
        return step.result()

    def _place(self, step: PendingStep) -> tuple[object, bytes]:
        # One line for each cell: the writers of one process never race each other.
        return self, _MANY if len(step.names) > 1 else step.names[0]

    async def _settle(self, steps: Sequence[PendingStep]) -> Sequence[PendingStep]:
        """The steps, each with its answer or its error, all written in one compare-and-set."""
        late = await execute(self._attempts, steps)
        if late is not None:
            self._sites.here().send_away(self._place(steps[0]), NotSent(late.cause))
        return steps

    async def _read(self, step: PendingStep) -> Any:
        names = step.names
        if self._sites.target.cluster and self.space.group is None:
            values = await self._plain([(pack("GET", name), name) for name in names])
        else:
            [values] = await self._plain([(pack("MGET", *names), names[0])])
        found = {name: found_in(value) for name, value in zip(names, values, strict=True)}
        apply_steps([step], Snapshot(found, 0))
        return step.result()

    async def _delete(self, names: Sequence[bytes]) -> None:
        await self._plain([(pack("DEL", name), name) for name in names])

    async def _plain(self, commands: Sequence[tuple[bytes, bytes]]) -> list[Any]:
        # Reading twice or deleting twice does what once does.
        site = self._sites.here()
        for last in (False, True):
            try:
                return await site.wire.call_all(commands)
            except (Lost, ResponseError) as error:
                if last or not isinstance(error, ReplyLost):
                    raise self._sites.target.failure(error) from error
        raise AssertionError("unreachable")


class RedisStates:
    """Keeps state on a Redis or Valkey server: see `StateStore`.

    `keys_max` and `overflow` of a space do not apply: the server holds the cells, so that its own
    `maxmemory` is the bound.
    """

    def __init__(self, sites: Sites) -> None:
        self.runtime: Runtime | None = sites.target.runtime
        self._sites = sites

    def cells(self, space: Space[S], /) -> RedisCells[S]:
        """The cells of a space."""
        return RedisCells(self._sites, space)

    def relied_on_by(self, who: str, /) -> None:
        """See `ForgetfulStore`: at the first step that the server answers, or at `create()`."""
        self._sites.durability.relied_on_by(who)
