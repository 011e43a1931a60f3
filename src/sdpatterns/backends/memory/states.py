"""Cells in this process.

A space is 1,024 small maps, so that growing to a million keys never copies more than a thousandth
of them at once. Each map has two generations. A cell is written into the young one; the old one
is dropped whole once the last of its cells may go, and the young one then takes its place. No
per-cell expiry is stored and nothing is scanned, and yet no cell is dropped before its time.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

from sdpatterns.backends.memory.signals import MemorySignals
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.core.codec import Codec
from sdpatterns.core.notices import LISTENERS, Notice, tell
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import GONE, UNCHANGED, ManyTransition, Transition
from sdpatterns.errors import BackendFull
from sdpatterns.ports.states import KEYS_MAX, Overflow

__all__ = ["KeysOverflowed", "MemoryCells", "MemoryStates"]

S = TypeVar("S")
A = TypeVar("A")

_SHARDS = 1024
_OVERFLOW_KEY = "\x00overflow"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class KeysOverflowed(Notice):
    """A space is full: a new key was given the cell shared by all new keys (or was refused)."""


class _Shard:
    """One small map in two generations. `*_until` is when the last cell in it may go."""

    __slots__ = ("old", "old_until", "young", "young_until")

    def __init__(self) -> None:
        self.young: dict[str, Any] = {}
        self.old: dict[str, Any] = {}
        self.young_until = 0
        self.old_until = 0

    def rotate(self) -> int:
        """Drop the old generation; how many cells went."""
        gone = len(self.old)
        self.old = self.young
        self.old_until = self.young_until
        self.young = {}
        return gone

    def forget(self, key: str) -> int:
        if self.young.pop(key, None) is not None or self.old.pop(key, None) is not None:
            return 1
        return 0


class MemoryCells(Generic[S]):
    """See `Cells` and `DirectCells`. One plain lock, held for one step."""

    def __init__(
        self,
        space: str,
        clock: Clock,
        signals: MemorySignals,
        keys_max: int,
        overflow: Overflow,
    ) -> None:
        self.space = space
        self._clock = clock
        self._signals = signals
        self._keys_max = keys_max
        self._overflow = overflow
        self._lock = threading.Lock()
        self._shards = [_Shard() for _ in range(_SHARDS)]
        self._sweeps = self._endless_sweep()
        self._count = 0

    def __len__(self) -> int:
        """How many cells are held, those included whose time has passed."""
        return self._count

    def transact_now(self, key: str, transition: Transition[S, A], /) -> A:
        full = False
        with self._lock:
            now_us = self._clock.now_us()
            shard = self._shards[hash(key) & 1023]
            if now_us >= shard.old_until and shard.young:
                self._count -= shard.rotate()
            state = shard.young.get(key)
            if state is None:
                state = shard.old.get(key)
                if state is None and self._count >= self._keys_max:
                    full = True
                    key, shard, state = self._overflown()
            next_state, answer, keep_s, wake = transition(state, now_us)
            if next_state is not UNCHANGED:
                self._write(shard, key, state, next_state, now_us + int(keep_s * 1_000_000))
        if wake:
            self._signals.ring(wake)
        if full and LISTENERS:
            tell(KeysOverflowed(name=self.space))
        return answer

    def _write(self, shard: _Shard, key: str, before: S | None, state: Any, until: int) -> None:
        if state is GONE:
            self._count -= shard.forget(key)
            return
        if before is None:
            self._count += 1
            next(self._sweeps)
        elif key not in shard.young and shard.old.pop(key, None) is None:
            # The sweep of a neighbour in the same step dropped it: its time had passed.
            self._count += 1
        shard.young[key] = state
        if until > shard.young_until:
            shard.young_until = until

    def _endless_sweep(self) -> Iterator[None]:
        # One shard for each new key, so that idle shards shrink too and no call pays for all.
        while True:
            for shard in self._shards:
                if shard.young or shard.old:
                    now_us = self._clock.now_us()
                    if now_us >= shard.old_until:
                        self._count -= shard.rotate()
                yield

    def _overflown(self) -> tuple[str, _Shard, S | None]:
        for _ in range(8):
            next(self._sweeps)
        if self._overflow == "refuse":
            raise BackendFull(f"{self.space!r} holds {self._count} keys, its bound")
        shard = self._shards[hash(_OVERFLOW_KEY) & 1023]
        return _OVERFLOW_KEY, shard, cast("S | None", self._look(shard, _OVERFLOW_KEY))

    @staticmethod
    def _look(shard: _Shard, key: str) -> Any:
        state = shard.young.get(key)
        return shard.old.get(key) if state is None else state

    async def transact(self, key: str, transition: Transition[S, A], /) -> A:
        return self.transact_now(key, transition)

    async def transact_many(self, keys: Sequence[str], transition: ManyTransition[S, A], /) -> A:
        if len(set(keys)) != len(keys):
            raise ValueError("one step needs different keys")
        with self._lock:
            now_us = self._clock.now_us()
            cells = [self._cell(key) for key in keys]
            states = [state for _, _, state in cells]
            next_states, answer, keeps_s, wake = transition(states, now_us)
            for (key, shard, before), state, keep_s in zip(cells, next_states, keeps_s, strict=True):
                if state is not UNCHANGED:
                    self._write(shard, key, before, state, now_us + int(keep_s * 1_000_000))
        if wake:
            self._signals.ring(wake)
        return answer

    def _cell(self, key: str) -> tuple[str, _Shard, S | None]:
        shard = self._shards[hash(key) & 1023]
        state = self._look(shard, key)
        if state is None and self._count >= self._keys_max:
            return self._overflown()
        return key, shard, state

    async def read(self, key: str, /) -> S | None:
        with self._lock:
            return cast("S | None", self._look(self._shards[hash(key) & 1023], key))

    async def read_many(self, keys: Sequence[str], /) -> list[S | None]:
        return [await self.read(key) for key in keys]

    async def delete(self, key: str, /) -> None:
        with self._lock:
            self._count -= self._shards[hash(key) & 1023].forget(key)


class MemoryStates:
    """See `StateStore`. Codecs are not used: a state stays the object that it is."""

    runtime: Runtime | None = None

    def __init__(self, *, clock: Clock = SYSTEM, signals: MemorySignals | None = None) -> None:
        self._clock = clock
        self._signals = MemorySignals() if signals is None else signals
        self._lock = threading.Lock()
        self._spaces: dict[str, MemoryCells[Any]] = {}

    def cells(
        self,
        space: str,
        codec: Codec[S],
        /,
        *,
        group: str | None = None,
        keys_max: int = KEYS_MAX,
        overflow: Overflow = "share",
    ) -> MemoryCells[S]:
        """The cells named `space`; the bounds are those of the first caller."""
        with self._lock:
            found = self._spaces.get(space)
            if found is None:
                found = MemoryCells(space, self._clock, self._signals, keys_max, overflow)
                self._spaces[space] = found
            return found
