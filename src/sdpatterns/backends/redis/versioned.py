"""Cells on Redis as a versioned map: read with the time, and compare-and-set.

A cell is one key whose value is `<last_us>|<payload>`. The whole value is its version: the time of the
write is part of it and never goes back.
"""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost, NotSent, ReplyLost
from sdpatterns.backends.redis.names import turn_head, turn_name
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.scripts import COMPARE_AND_SET, READ, SLACK_MS
from sdpatterns.backends.redis.sites import Sites
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError, SdpatternsError
from sdpatterns.ports.engine.execute import Races
from sdpatterns.ports.engine.steps import Change, Found, PendingStep, Snapshot
from sdpatterns.ports.engine.versioned import Conflict, attempt, names_of

__all__ = ["RedisAttempts", "found_in"]


def found_in(value: bytes | None) -> Found | None:
    """A cell's value as what it says."""
    if value is None:
        return None
    last, bar, payload = value.partition(b"|")
    if not bar or not last.isdigit():
        return Found(value, CodecError(f"not a cell of this backend: {value[:40]!r}"), 0)
    return Found(value, payload, int(last))


class RedisAttempts:
    """See `Attempts`: each is a read (none after a lost race, which says what stands there) and a write."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._target = sites.target
        self._turn_head = turn_head(sites.target.prefix)

    @property
    def shown(self) -> str:
        """The server's URL."""
        return self._target.shown

    @property
    def runtime(self) -> Runtime:
        """How to wait."""
        return self._target.runtime

    def random(self) -> float:
        """Between 0 and 1."""
        return self._target.random()

    def unavailable(self, cause: BaseException | str, /) -> SdpatternsError:
        """The exception for a step that did not happen."""
        return self._target.failure(cause if isinstance(cause, ResponseError) else NotSent(cause))

    def unknown(self, cause: BaseException | str, /) -> SdpatternsError:
        """The exception for a step that may have happened."""
        return self._target.failure(ReplyLost(cause))

    async def attempt(self, steps: Sequence[PendingStep], races: Races, /) -> Conflict | None:
        """All steps once."""
        if races.want_turn and not races.token:
            races.token = secrets.token_hex(8).encode()
        cells = _RedisMap(self._sites, self._turn_head, races)
        conflict = await attempt(cells, steps, races.snapshot)
        if conflict is None and races.has_turn:
            await cells.give_back(names_of(steps))
        return conflict


class _RedisMap:
    """See `VersionedMap`. For one batch of steps, and in its turn once that has lost several races."""

    __slots__ = ("_races", "_sites", "_turn_head", "_wire")

    def __init__(self, sites: Sites, turn_head: bytes, races: Races) -> None:
        self._sites = sites
        self._turn_head = turn_head
        self._races = races
        # That of the begin: the backend may be closed while the steps are applied.
        self._wire = sites.here().wire

    async def read(self, names: Sequence[Any], /) -> Snapshot:
        try:
            return self._snapshot(names, await self._call(READ, names, ()))
        except ReplyLost as lost:
            if lost.is_late:
                raise NotSent(lost.cause) from lost
        try:
            return self._snapshot(names, await self._call(READ, names, ()))
        except ReplyLost as lost:
            raise NotSent(lost.cause) from lost

    async def write(self, changes: Sequence[Change], topics: Sequence[str], /) -> Conflict | None:
        names, heard = [change.key for change in changes], [*topics]
        words: list[str | bytes] = [self._races.token]
        for change in changes:
            words += (turn_name(self._turn_head, change.key), change.expected or b"", *_written(change))
            heard += change.topics
        words += [self._sites.target.channel + topic for topic in dict.fromkeys(heard)]
        found = await self._call(COMPARE_AND_SET, names, words)
        if found == 1:
            self._races.has_turn = False
            return None
        self._races.has_turn = found[2] == 1
        return Conflict(names, self._snapshot(names, found))

    async def give_back(self, names: Sequence[Any]) -> None:
        """End a turn in which there was nothing to write. Where this is lost, the turn ends by itself."""
        with contextlib.suppress(Lost, ResponseError):
            turns = [turn_name(self._turn_head, name) for name in names]
            await self._wire.call_all([(pack("DEL", turn), turn) for turn in turns])

    async def _call(self, script: Any, keys: Sequence[bytes], words: Sequence[str | bytes]) -> Any:
        try:
            return await script.run(self._wire, keys, words)
        except ResponseError as refused:
            raise NotSent(refused) from refused

    def _snapshot(self, names: Sequence[bytes], found: Sequence[Any]) -> Snapshot:
        clock_us = int(found[0]) * 1_000_000 + int(found[1]) + int(self._sites.shift_us)
        return Snapshot({name: found_in(value) for name, value in zip(names, found[3:], strict=True)}, clock_us)


def _written(change: Change) -> tuple[bytes, bytes]:
    """The value to write, and its time to live."""
    if change.payload is UNCHANGED:
        return b"", b"0"
    if change.payload is GONE:
        return b"-", b"0"
    keep_ms = max(0, math.ceil(change.keep_s * 1000)) + SLACK_MS
    return b"%d|%b" % (change.last_us, change.payload), b"%d" % keep_ms
