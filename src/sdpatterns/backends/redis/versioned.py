"""Cells on Redis as a versioned map: read with the time, and compare-and-set.

A cell is one key whose value is `<last_us>|<payload>`. The whole value is its version: the time of the
write is part of it and never goes back.
"""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Coroutine, Sequence
from typing import Any

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost, NotSent, ReplyLost
from sdpatterns.backends.redis.names import turn_head, turn_name
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.resources import RedisResources
from sdpatterns.backends.redis.scripts import READ, SLACK_MS, ServerScript, compare_and_set
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import GONE, UNCHANGED, Next
from sdpatterns.errors import CodecError, SdpatternsError
from sdpatterns.ports.engine.execute import Races
from sdpatterns.ports.engine.failures import repeat
from sdpatterns.ports.engine.steps import Change, Found, PendingStep, Snapshot
from sdpatterns.ports.engine.versioned import Conflict, attempt, names_of

__all__ = ["RedisAttempts", "found_in"]


def found_in(value: bytes | None) -> Found | None:
    """A cell's value as what it says."""
    if value is None:
        return None
    # The time first, so that the server's script finds it without knowing the codec.
    last, bar, payload = value.partition(b"|")
    if not bar or not last.isdigit():
        return Found(value, CodecError(f"not a cell of this backend: {value[:40]!r}"), 0)
    return Found(value, payload, int(last))


class RedisAttempts:
    """See `Attempts`: each is a read (none after a lost race, which says what stands there) and a write."""

    def __init__(self, resources: RedisResources) -> None:
        self._resources = resources
        self._server = resources.server
        self._compare_and_set = compare_and_set(resources.server.prefix)

    @property
    def shown(self) -> str:
        """The server's URL."""
        return self._server.shown

    @property
    def runtime(self) -> Runtime:
        return self._server.runtime

    def random(self) -> float:
        """Between 0 and 1."""
        return self._server.random()

    def unavailable(self, cause: BaseException | str, /) -> SdpatternsError:
        """The exception for a step that did not happen."""
        return self._server.failure(cause if isinstance(cause, ResponseError) else NotSent(cause))

    def unknown(self, cause: BaseException | str, /) -> SdpatternsError:
        return self._server.failure(ReplyLost(cause))

    def attempt(self, steps: Sequence[PendingStep], races: Races, /) -> Coroutine[Any, Any, Conflict | None]:
        """All steps once."""
        # The common attempt is handed on as it is, because a coroutine around it would cost each step.
        cells = _RedisMap(self._resources, self._compare_and_set, races)
        return self._in_turn(cells, steps, races) if races.want_turn else attempt(cells, steps, races.snapshot)

    async def _in_turn(self, cells: _RedisMap, steps: Sequence[PendingStep], races: Races) -> Conflict | None:
        # By its token the server knows the client that has the turn. A batch keeps its token until it has won.
        races.token = races.token or secrets.token_hex(8).encode()
        conflict = await attempt(cells, steps, races.snapshot)
        # `write` ends the turn. Where there was nothing to write, the others would wait until it ends by itself.
        if conflict is None and races.has_turn:
            await cells.give_back(names_of(steps))
        return conflict


class _RedisMap:
    """See `VersionedMap`. For one batch of steps, and in its turn once that has lost several races."""

    __slots__ = ("_compare_and_set", "_races", "_resources", "_sender")

    def __init__(self, resources: RedisResources, compare_and_set: ServerScript, races: Races) -> None:
        self._resources = resources
        self._compare_and_set = compare_and_set
        self._races = races
        # That of the begin: the backend may be closed while the steps are applied.
        self._sender = resources.here().sender

    async def read(self, names: Sequence[Any], /) -> Snapshot:
        try:
            try:
                found = await READ.run(self._sender, names, ())
            except Lost as lost:
                found = await repeat(lost, lambda: READ.run(self._sender, names, ()), leaves_doubt=False)
        except ResponseError as refused:
            raise NotSent(refused) from refused
        return self._snapshot(names, found)

    async def write(self, changes: Sequence[Change], topics: Sequence[str], /) -> Conflict | None:
        names, heard = [], [*topics]
        words: list[str | bytes] = [self._races.token]
        for name, version, payload, last_us, keep_s, of_change in changes:
            names.append(name)
            words += (version or b"", *_written(payload, last_us, keep_s))
            heard += of_change
        if heard:
            channel = self._resources.server.channel
            words += [channel + topic for topic in dict.fromkeys(heard)]
        try:
            found = await self._compare_and_set.run(self._sender, names, words)
        except ResponseError as refused:
            # The server runs a script to its end or refuses it before it writes.
            raise NotSent(refused) from refused
        if found == 1:
            self._races.has_turn = False
            return None
        # The refusal brings what stands there now, so that the next attempt is one command and not two.
        self._races.has_turn = found[2] == 1
        return Conflict(names, self._snapshot(names, found))

    async def give_back(self, names: Sequence[Any]) -> None:
        """End a turn in which there was nothing to write. Where this is lost, the turn ends by itself."""
        with contextlib.suppress(Lost, ResponseError):
            head = turn_head(self._resources.server.prefix)
            turns = [turn_name(head, name) for name in names]
            await self._sender.call_all([(pack("DEL", turn), turn) for turn in turns])

    def _snapshot(self, names: Sequence[bytes], found: Sequence[Any]) -> Snapshot:
        now_us = int(found[0]) * 1_000_000 + int(found[1]) + int(self._resources.shift_us)
        return Snapshot({name: found_in(value) for name, value in zip(names, found[3:], strict=True)}, now_us)


def _written(payload: Next[bytes], last_us: int, keep_s: float) -> tuple[bytes, bytes]:
    """The value to write, and its time to live."""
    if payload is UNCHANGED:
        return b"", b"0"
    if payload is GONE:
        return b"-", b"0"
    keep_ms = math.ceil(keep_s * 1000) + SLACK_MS if keep_s > 0 else SLACK_MS
    return b"%d|%b" % (last_us, payload), b"%d" % keep_ms
