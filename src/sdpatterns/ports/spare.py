"""Cells for a store that may be full: a step that finds no room there is made in this process.

```
step ---> store                              room: there, as ever
            └─ full ---> read its state ---> the same step on bounded cells here
```
A full store is not an outage: a client that sprays keys can fill it, and must not lift a limit by that.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from time import monotonic
from typing import ClassVar, Generic, TypeVar

from sdpatterns.core.forks import new_lock
from sdpatterns.core.notices import LISTENERS, Notice, tell
from sdpatterns.core.step import ManyStep, ManyTransition, Repeats, Step, Transition
from sdpatterns.errors import BackendFull
from sdpatterns.ports.local import LocalCells
from sdpatterns.ports.states import Cells, Overflow

__all__ = ["CountedHere", "SpareCells"]

S = TypeVar("S")
A = TypeVar("A")

_SPARE_KEYS_MAX = 65_536
_WARN_EVERY_S = 60.0

_log = logging.getLogger("sdpatterns")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CountedHere(Notice):
    """The store was full, so that a step was made on cells of this process. `name` is the guard's."""

    error: str

    def labels(self) -> dict[str, str]:
        """The guard."""
        return {"name": self.name}


class _Seeded(Generic[S, A]):
    """A transition that begins, in a cell not yet here, from what the full store still holds."""

    __slots__ = ("_held", "_transition")
    repeats: ClassVar[Repeats] = "harmless"
    twin = None

    def __init__(self, transition: Transition[S, A], held: S | None) -> None:
        self._transition = transition
        self._held = held

    def __call__(self, state: S | None, now_us: int, /) -> Step[S, A]:
        return self._transition(self._held if state is None else state, now_us)


class _SeededMany(Generic[S, A]):
    """The same for several cells."""

    __slots__ = ("_held", "_transition")
    repeats: ClassVar[Repeats] = "harmless"
    twin = None

    def __init__(self, transition: ManyTransition[S, A], held: Sequence[S | None]) -> None:
        self._transition = transition
        self._held = held

    def __call__(self, states: Sequence[S | None], now_us: int, /) -> ManyStep[S, A]:
        begun = [held if state is None else state for state, held in zip(states, self._held, strict=True)]
        return self._transition(begun, now_us)


class SpareCells(Generic[S]):
    """See `Cells`: those of a store and, while it is full, bounded ones of this process.

    **Keeps**: while the store is full a key's steps go on from the state that the store holds, and
    each process counts by itself: n processes may let pass n times what one does.
    **May fail** as the store's cells do, but with no `BackendFull`. **Costs**: nothing while there is
    room; while there is none a read more, and up to 65,536 keys in this process.
    """

    def __init__(self, cells: Cells[S], whose: str, name: str, *, keys_max: int, overflow: Overflow) -> None:
        self._cells = cells
        self._whose = whose
        self._name = name
        self._keys_max = min(keys_max, _SPARE_KEYS_MAX)
        self._overflow: Overflow = overflow
        self._lock = new_lock()
        self._here: LocalCells[S] | None = None
        self._warn_after = 0.0

    async def transact(self, key: str, transition: Transition[S, A], /) -> A:
        """Run the transition on the cell `key` and return its answer."""
        try:
            return await self._cells.transact(key, transition)
        except BackendFull as full:
            self._tell(full)
        held = await self._cells.read(key)
        return self._local().transact_now(key, _Seeded(transition, held))

    async def transact_many(self, keys: Sequence[str], transition: ManyTransition[S, A], /) -> A:
        """Run one transition on several different cells: all of it or nothing."""
        try:
            return await self._cells.transact_many(keys, transition)
        except BackendFull as full:
            self._tell(full)
        held = await self._cells.read_many(keys)
        return self._local().transact_many_now(keys, _SeededMany(transition, held))

    async def read(self, key: str, /) -> S | None:
        """The state that the store holds."""
        return await self._cells.read(key)

    async def read_many(self, keys: Sequence[str], /) -> list[S | None]:
        """The states that the store holds, in order."""
        return await self._cells.read_many(keys)

    async def delete(self, key: str, /) -> None:
        """Forget a cell, in both places."""
        if self._here is not None:
            await self._here.delete(key)
        await self._cells.delete(key)

    def _local(self) -> LocalCells[S]:
        with self._lock:
            if self._here is None:
                self._here = LocalCells(self._name, keys_max=self._keys_max, overflow=self._overflow)
            return self._here

    def _tell(self, full: BackendFull) -> None:
        now = monotonic()
        if now >= self._warn_after:
            self._warn_after = now + _WARN_EVERY_S
            _log.warning("%s: its store is full, this process counts by itself: %s", self._whose, full)
        if LISTENERS:
            tell(CountedHere(name=self._name, error=str(full)))
