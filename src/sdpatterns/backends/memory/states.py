"""The StateStore of this process: a table of `LocalCells` by name."""

from __future__ import annotations

from typing import Any, TypeVar

from sdpatterns.backends.memory.signals import MemorySignals
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.core.codec import Codec
from sdpatterns.core.forks import new_lock
from sdpatterns.core.runtime import Runtime
from sdpatterns.ports.local import LocalCells
from sdpatterns.ports.states import KEYS_MAX, Overflow

__all__ = ["MemoryStates"]

S = TypeVar("S")


class MemoryStates:
    """Keeps state in the memory of this process: see `StateStore`. It uses no codecs: a state stays the same object."""

    runtime: Runtime | None = None

    def __init__(self, *, clock: Clock = SYSTEM, signals: MemorySignals | None = None) -> None:
        self._clock = clock
        self._signals = MemorySignals() if signals is None else signals
        self._lock = new_lock()
        self._spaces: dict[str, LocalCells[Any]] = {}

    def cells(
        self,
        space: str,
        codec: Codec[S],
        /,
        *,
        group: str | None = None,
        keys_max: int = KEYS_MAX,
        overflow: Overflow = "share",
    ) -> LocalCells[S]:
        """The cells named `space`; the bounds are those of the first caller."""
        with self._lock:
            found = self._spaces.get(space)
            if found is None:
                found = LocalCells(
                    space, clock=self._clock, ring=self._signals.wake, keys_max=keys_max, overflow=overflow
                )
                self._spaces[space] = found
            return found
