"""Cells in this process: what a pattern uses that was given no store, and what memory adapts.

A space is 1,024 small maps, so that growing to a million keys never copies more than a thousandth
of them at once. Each map has two generations. A cell is written into the young one; the old one
is dropped whole once the last of its cells may go, and the young one then takes its place. No
per-cell expiry is stored and nothing is scanned, and yet no cell is dropped before its time.

```
write -> young --(old is past its time)--> old --(past its time)--> dropped
           ^------------- written again ----'
```
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any, TypeVar, cast

from sdpatterns.core.clock import SHIFTED_EPOCH_US, SYSTEM, WHOLE, Clock, process_now_us
from sdpatterns.core.forks import new_lock
from sdpatterns.core.keys import check_key
from sdpatterns.core.notices import LISTENERS, Notice, tell
from sdpatterns.core.step import GONE, UNCHANGED, Transition
from sdpatterns.errors import BackendFull
from sdpatterns.ports.engine.steps import Drop, PendingStep
from sdpatterns.ports.states import Cells, Space

__all__ = ["KeysOverflowed", "LocalCells", "Shard", "one_shard"]

S = TypeVar("S")
A = TypeVar("A")

_SHARDS: ContextVar[int] = ContextVar("shards", default=1024)
_OVERFLOW_KEY = "\x00overflow"
_SWEEPS_WHEN_FULL = 8


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class KeysOverflowed(Notice):
    """A space is full: a new key was given the cell shared by all new keys."""


class Shard:
    """One small map in two generations. `*_until_us` is when the last cell in it may go.

    Keeps: a key is in one generation at most.
    """

    __slots__ = ("old", "old_until_us", "young", "young_until_us")

    def __init__(self) -> None:
        self.young: dict[str, Any] = {}
        self.old: dict[str, Any] = {}
        self.young_until_us = 0.0
        self.old_until_us = 0.0

    def get(self, key: str) -> Any:
        """The state of a cell, or None."""
        state = self.young.get(key)
        return self.old.get(key) if state is None else state

    def forget(self, key: str) -> int:
        """Drop a cell; how many went."""
        found = self.young.pop(key, None) is not None or self.old.pop(key, None) is not None
        return 1 if found else 0

    def rotate(self, least_until_us: float) -> int:
        """Drop the old generation, whose time has passed; how many cells went."""
        gone = len(self.old)
        self.old = self.young
        self.old_until_us = max(self.young_until_us, least_until_us)
        self.young = {}
        return gone


@contextmanager
def one_shard() -> Iterator[None]:
    """Cells that are made in this context are one map. A simulation needs that to repeat itself in any process.

    A cell whose time has passed goes with the old generation of its shard, and which keys share a shard depends on the
    process's hash seed.
    """
    token = _SHARDS.set(1)
    try:
        yield
    finally:
        _SHARDS.reset(token)


class LocalCells(Cells[S]):
    """See `Cells` and `DirectCells`. One plain lock, held for one step and never across an await.

    `lock`, `clock`, `shards` and `mask` are open to a pattern with a hot path of its own: a key belongs to
    `shards[hash(key) & mask]`. (A method for that would cost a tenth of a decision.) Such a path writes only
    keys that it found in a young generation, and says with `keep_at_least` how long from its last write a
    cell that it wrote matters.

    Costs: 60 to 80 bytes a key beside its state and the key itself.
    """

    def __init__(
        self,
        space: Space[S],
        *,
        clock: Clock = SYSTEM,
        ring: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self.space = space
        self.clock = clock
        self.lock = new_lock()
        shards = _SHARDS.get()
        self.shards = [Shard() for _ in range(shards)]
        self.mask = shards - 1
        self._ring = ring
        self._keys_max = space.keys_max
        self._overflow = space.overflow
        self._count = 0
        self._hand = 0
        self._least_keep_us = 0.0
        self._last_us = 0

    def __len__(self) -> int:
        """How many cells are held, those included whose time has passed."""
        return self._count

    def keep_at_least(self, keep_us: float) -> None:
        """Keep what is written for so long, however short its own time."""
        self._least_keep_us = max(self._least_keep_us, keep_us)

    def now_us(self) -> int:
        """The time of these cells, which never goes back. Call it under the lock."""
        if self.clock.now_us is process_now_us:
            now_us = int(monotonic() * 1e6 + SHIFTED_EPOCH_US - WHOLE)
        else:
            now_us = self.clock.now_us()
        self._last_us = max(self._last_us, now_us)
        return self._last_us

    def transact_now(self, key: str, transition: Transition[S, A], /) -> A:
        with self.lock:
            now_us = self.now_us()
            cell, shard, state = self._find(key, now_us)
            (next_state,), answer, (keep_s,), wake = transition((state,), now_us)
            if next_state is not UNCHANGED:
                until_us = now_us + keep_s * 1e6
                self._write(shard, cell, state, next_state, until_us, now_us)
        self._tell(wake, overflown=cell is not key)
        return answer

    def transact_many_now(self, keys: Sequence[str], transition: Transition[S, A], /) -> A:
        """Run one transition on several cells at once."""
        if not keys or len(set(keys)) != len(keys):
            raise ValueError("one step needs different keys, and at least one")
        with self.lock:
            now_us = self.now_us()
            found = [self._find(key, now_us, ahead) for ahead, key in enumerate(keys)]
            if len({cell for cell, _, _ in found}) != len(found):
                raise BackendFull(f"{self.space.name!r} is full: two new keys of one step cannot share a cell")
            next_states, answer, keeps_s, wake = transition([state for _, _, state in found], now_us)
            self._write_many(found, next_states, keeps_s, now_us)
        self._tell(wake, overflown=any(cell is not key for key, (cell, _, _) in zip(keys, found, strict=True)))
        return answer

    async def run(self, step: PendingStep, /) -> Any:
        """Make a step that a wrapper hands on."""
        if step.reads:
            return await self.read_many(step.keys)
        if isinstance(step.transition, Drop):
            for key in step.keys:
                await self.delete(key)
            return None
        return self.transact_many_now(step.keys, step.transition)

    async def transact(self, key: str, transition: Transition[S, A], /) -> A:
        """Run the transition on the cell `key` and return its answer."""
        return self.transact_now(key, transition)

    async def transact_many(self, keys: Sequence[str], transition: Transition[S, A], /) -> A:
        """Run one transition on several different cells: all of it or nothing."""
        return self.transact_many_now(keys, transition)

    async def read(self, key: str, /) -> S | None:
        """The state of a cell; it may be past an instant inside it that only a step would judge."""
        with self.lock:
            return self._look(key)

    async def read_many(self, keys: Sequence[str], /) -> list[S | None]:
        """The states of several cells, in order."""
        with self.lock:
            return [self._look(key) for key in keys]

    async def delete(self, key: str, /) -> None:
        """Forget a cell."""
        with self.lock:
            self._count -= self._shard(check_key(key)).forget(key)

    def _look(self, key: str) -> S | None:
        return cast("S | None", self._shard(check_key(key)).get(key))

    def _shard(self, key: str) -> Shard:
        return self.shards[hash(key) & self.mask]

    def _find(self, key: str, now_us: int, ahead: int = 0) -> tuple[str, Shard, Any]:
        """The cell for a key. `ahead`: how many cells the same step may add before it."""
        shard = self._shard(key)
        if now_us >= shard.old_until_us and shard.young:
            self._count -= shard.rotate(now_us + self._least_keep_us)
        state = shard.get(key)
        if state is None:
            check_key(key)  # one that is held has been checked
            if self._count + ahead >= self._keys_max:
                return self._find_when_full(key, shard, now_us, ahead)
        return key, shard, state

    def _find_when_full(self, key: str, shard: Shard, now_us: int, ahead: int) -> tuple[str, Shard, Any]:
        for _ in range(_SWEEPS_WHEN_FULL):
            self._sweep_one(now_us)
        if self._count + ahead < self._keys_max:
            return key, shard, None
        if self._overflow == "refuse":
            raise BackendFull(f"{self.space.name!r} holds {self._count} keys, its bound")
        cell = self._overflow(key) if callable(self._overflow) else _OVERFLOW_KEY
        shard = self._shard(cell)
        return cell, shard, shard.get(cell)

    def _write(self, shard: Shard, key: str, before: Any, state: Any, until_us: float, now_us: int) -> None:
        if state is GONE:
            self._count -= shard.forget(key)
            return
        if before is None:
            self._count += 1
            self._sweep_one(now_us)
        elif key not in shard.young and shard.old.pop(key, None) is None:
            # The sweep for a new neighbour in the same step dropped it: its time had passed.
            self._count += 1
        shard.young[key] = state
        shard.young_until_us = max(shard.young_until_us, until_us)

    def _write_many(
        self, found: Sequence[tuple[str, Shard, Any]], next_states: Sequence[Any], keeps_s: Sequence[float], now_us: int
    ) -> None:
        # Everything that can fail comes before the first write.
        writes = [
            (shard, cell, before, state, now_us + keep_s * 1e6)
            for (cell, shard, before), state, keep_s in zip(found, next_states, keeps_s, strict=True)
            if state is not UNCHANGED
        ]
        for write in writes:
            self._write(*write, now_us)

    def _sweep_one(self, now_us: int) -> None:
        # One shard for each new key, so that idle shards shrink too and no call pays for all.
        self._hand = (self._hand + 1) & self.mask
        shard = self.shards[self._hand]
        if now_us >= shard.old_until_us and (shard.young or shard.old):
            self._count -= shard.rotate(now_us + self._least_keep_us)

    def _tell(self, wake: Sequence[str], *, overflown: bool) -> None:
        if wake and self._ring is not None:
            self._ring(wake)
        if overflown and LISTENERS:
            tell(KeysOverflowed(name=self.space.name))
