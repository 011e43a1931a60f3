"""The StateStore of this process: a table of `LocalCells` by name."""

from __future__ import annotations

from typing import Any, TypeVar

from sdpatterns.backends.memory.signals import MemorySignals
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.core.forks import new_lock
from sdpatterns.core.runtime import Runtime
from sdpatterns.ports.local import LocalCells
from sdpatterns.ports.states import Space
from sdpatterns.ports.timekeeping import SERVER, StoreClock

__all__ = ["MemoryStates"]

S = TypeVar("S")


class MemoryStates:
    """Keeps state in the memory of this process: see `StateStore`. It uses no codecs: a state stays the same object."""

    runtime: Runtime | None = None
    clock: StoreClock = SERVER

    def __init__(self, *, clock: Clock = SYSTEM, signals: MemorySignals | None = None) -> None:
        self._clock = clock
        self._signals = MemorySignals() if signals is None else signals
        self._lock = new_lock()
        self._spaces: dict[str, LocalCells[Any]] = {}

    def cells(self, space: Space[S], /) -> LocalCells[S]:
        """The cells of a space; the bounds are those of the first caller."""
        with self._lock:
            found = self._spaces.get(space.name)
            if found is None:
                found = LocalCells(space, clock=self._clock, ring=self._signals.wake)
                self._spaces[space.name] = found
            return found
