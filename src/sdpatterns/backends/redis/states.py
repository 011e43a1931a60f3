"""Cells on Redis: by a Lua twin in one trip, by compare-and-set in two for any other transition."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine, Sequence
from typing import Any, Generic, TypeVar, cast

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost, NotSent, ReplyLost
from sdpatterns.backends.redis.fold import Draft, Wish, values_of
from sdpatterns.backends.redis.names import cell_name, cell_space
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.scripts import COMPARE_AND_SET, READ, Job, step_script
from sdpatterns.backends.redis.sites import Site, Sites
from sdpatterns.core.codec import Codec
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import ManyTransition, Transition, Twin
from sdpatterns.core.tracing import TRACERS, stepped_in_span
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.states import KEYS_MAX, Overflow

__all__ = ["RedisCells", "RedisStates"]

S = TypeVar("S")
A = TypeVar("A")

_TRIES_TOGETHER = 6
_PAUSE_MAX_S = 0.05
_MANY = b""  # the line in which steps on several cells wait; no cell has this name


class RedisCells(Generic[S]):
    """See `Cells`. A step is decided by the server's time, and happens there or nowhere.

    Costs: one round trip for a transition with a twin, two for any other (and one more for each
    conflict with another process); in the server one key of about 100 bytes and the state.
    """

    def __init__(self, sites: Sites, space: str, codec: Codec[S], group: str | None) -> None:
        self.space = space
        self._sites = sites
        self._codec = codec
        self._group = group
        self._prefix = cell_space(sites.target.prefix, space, group)
        self._channel = sites.target.channel
        version = getattr(codec, "version", None)
        self._head = f"{version}:" if isinstance(version, int) else None

    async def transact(self, key: str, transition: Transition[S, A], /) -> A:
        """Run the transition on the cell `key` and return its answer."""
        return cast("A", await self._step("transact", (cell_name(self._prefix, key),), transition))

    async def transact_many(self, keys: Sequence[str], transition: ManyTransition[S, A], /) -> A:
        """Run one transition on several different cells: all of it or nothing."""
        if not keys or len(set(keys)) != len(keys):
            raise ValueError("one step needs different keys, and at least one")
        if self._sites.target.cluster and self._group is None and len(keys) > 1:
            raise TypeError(f"steps on several cells of {self.space!r} need cells(..., group=...) on a cluster")
        names = tuple(cell_name(self._prefix, key) for key in keys)
        return cast("A", await self._step("transact_many", names, transition, many=True))

    def _step(
        self,
        verb: str,
        names: tuple[bytes, ...],
        transition: Transition[S, A] | ManyTransition[S, A],
        *,
        many: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        twin = transition.twin
        if twin is None or self._head is None:
            return self._seen(verb, self._by_draft(Wish(names, transition, many=many)))
        return self._seen(verb, self._by_twin(names, transition, twin, many=many))

    def _seen(self, verb: str, step: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        # Nothing that instruments redis-py sees our commands: they go past its clients.
        return stepped_in_span(verb, self.space, self._sites.target.facts, step) if TRACERS else step

    async def _by_twin(
        self,
        names: tuple[bytes, ...],
        transition: Transition[S, A] | ManyTransition[S, A],
        twin: Twin[A],
        *,
        many: bool = False,
    ) -> A:
        args = twin.args()
        script = step_script(twin.source, self._head or "", self._channel)
        job = Job(names, args, self._sites.shift_us)
        site = self._sites.here()
        try:
            reply = await site.step(script, job)
        except (Lost, ResponseError) as error:
            if not isinstance(error, ReplyLost) or error.is_late or transition.repeats != "harmless":
                raise self._sites.target.failure(error) from error
            try:
                reply = await site.step(script, job)
            except (Lost, ResponseError) as again:
                # The first one may have happened all the same.
                raise OutcomeUnknown(self._sites.target.unknown(again)) from again
        if self._sites.durability.is_due:
            await self._sites.durability.ask(site.seed)
        if isinstance(reply, list):
            return twin.answer(reply)
        if isinstance(reply, bytes):
            raise self._sites.target.failure(
                ResponseError(reply.decode(errors="replace")), f"the twin {twin.name} failed"
            )
        return cast("A", await self._by_draft(Wish(names, transition, many=many)))

    async def _by_draft(self, wish: Wish) -> Any:
        site = self._sites.here()
        try:
            done, value = await site.in_line(self._place(wish), wish, self._settle)
        except NotSent as away:
            raise self._sites.target.failure(away) from away
        if self._sites.durability.is_due and done:
            await self._sites.durability.ask(site.seed)
        if done:
            return value
        raise value

    def _place(self, wish: Wish) -> tuple[object, bytes]:
        return self, _MANY if wish.many else wish.names[0]

    async def _settle(self, wishes: Sequence[Wish]) -> Sequence[tuple[bool, Any]]:
        """Each wish's answer (True) or exception (False), all written in one compare-and-set."""
        site = self._sites.here()
        try:
            return await self._write(site, wishes)
        except (Lost, ResponseError) as error:
            if isinstance(error, Lost) and error.is_late:
                site.send_away(self._place(wishes[0]), NotSent(error.cause))
            elif isinstance(error, ReplyLost):
                return await self._after_loss(site, wishes, error)
            return [(False, self._sites.target.failure(error)) for _ in wishes]

    async def _after_loss(self, site: Site, wishes: Sequence[Wish], lost: ReplyLost) -> Sequence[tuple[bool, Any]]:
        harmless = [wish for wish in wishes if wish.transition.repeats == "harmless"]
        try:
            again = iter(await self._write(site, harmless) if harmless else ())
        except (Lost, ResponseError) as error:
            return [(False, OutcomeUnknown(self._sites.target.unknown(error))) for _ in wishes]
        unknown = self._sites.target.unknown(lost)
        ends = [next(again) if wish.transition.repeats == "harmless" else (False, None) for wish in wishes]
        # Whatever became of the second try, the first one may have happened.
        doubtful = [not done and (value is None or isinstance(value, BackendUnavailable)) for done, value in ends]
        return [(False, OutcomeUnknown(unknown)) if doubt else end for doubt, end in zip(doubtful, ends, strict=True)]

    async def _write(self, site: Site, wishes: Sequence[Wish]) -> Sequence[tuple[bool, Any]]:
        names = tuple(dict.fromkeys(name for wish in wishes for name in wish.names))
        found = await self._read(site, names)
        target = self._sites.target
        for attempt in itertools.count():
            if attempt > 1:
                # Lost races are no outage, because another caller's write won each: the caller's deadline ends it.
                if len(wishes) == 1 and wishes[0].is_over:
                    break
                await target.runtime.sleep(target.random() * min(_PAUSE_MAX_S, 0.001 * 2 ** min(attempt, 16)))
            if attempt == _TRIES_TOGETHER and len(wishes) > 1:
                # The fewer cells a write compares, the sooner it wins against other processes.
                return await self._one_by_one(wishes)
            values, time_us = values_of(names, found)
            draft = Draft(self._codec, values, time_us + int(self._sites.shift_us))
            answers = [_applied(draft, wish) for wish in wishes]
            if draft.is_idle:
                return answers
            topics = [self._channel + topic for topic in dict.fromkeys(draft.topics)]
            found = await COMPARE_AND_SET.run(site.wire, names, [*draft.words(), *topics])
            if found == 1:
                return answers
        busy = f"{target.shown}: others wrote {self.space!r} first until the deadline had passed; nothing was written"
        return [(False, BackendUnavailable(busy)) for _ in wishes]

    async def _one_by_one(self, wishes: Sequence[Wish]) -> Sequence[tuple[bool, Any]]:
        # Each with its own losses: those before it have happened by then.
        return [(await self._settle([wish]))[0] for wish in wishes]

    async def _read(self, site: Site, names: Sequence[bytes]) -> Any:
        try:
            return await READ.run(site.wire, names, ())
        except ReplyLost as lost:
            if lost.is_late:
                raise NotSent(lost.cause) from lost
        try:
            return await READ.run(site.wire, names, ())
        except ReplyLost as lost:
            raise NotSent(lost.cause) from lost

    async def read(self, key: str, /) -> S | None:
        """The state of a cell; it may be past an instant inside it that only a step would judge."""
        [state] = await self.read_many([key])
        return state

    async def read_many(self, keys: Sequence[str], /) -> list[S | None]:
        """The states of several cells, in order."""
        names = [cell_name(self._prefix, key) for key in keys]
        if not names:
            return []
        if self._sites.target.cluster and self._group is None:
            values = await self._seen("read", self._plain([(pack("GET", name), name) for name in names]))
        else:
            [values] = await self._seen("read", self._plain([(pack("MGET", *names), names[0])]))
        drafts = Draft(self._codec, dict(zip(names, values, strict=True)), 0)
        return [drafts.look(name) for name in names]

    async def delete(self, key: str, /) -> None:
        """Forget a cell."""
        name = cell_name(self._prefix, key)
        await self._seen("delete", self._plain([(pack("DEL", name), name)]))

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


def _applied(draft: Draft[Any], wish: Wish) -> tuple[bool, Any]:
    try:
        return True, draft.apply(wish)
    except Exception as error:  # noqa: BLE001 - goes to its caller, and harms nobody else
        return False, error


class RedisStates:
    """Keeps state on a Redis or Valkey server: see `StateStore`."""

    def __init__(self, sites: Sites) -> None:
        self.runtime: Runtime | None = sites.target.runtime
        self._sites = sites

    def cells(
        self,
        space: str,
        codec: Codec[S],
        /,
        *,
        group: str | None = None,
        keys_max: int = KEYS_MAX,
        overflow: Overflow = "share",
    ) -> RedisCells[S]:
        """The cells named `space`.

        `keys_max` and `overflow` bound what this process holds: here the server holds the cells, so
        that its own `maxmemory` is the bound.
        """
        return RedisCells(self._sites, space, codec, group)

    def relied_on_by(self, who: str, /) -> None:
        """See `ForgetfulStore`: at the first step that the server answers, or at `create()`."""
        self._sites.durability.relied_on_by(who)
