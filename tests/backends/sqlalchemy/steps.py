"""Steps that the tests of this backend play."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sdpatterns.core.step import Repeats, Script, Step

Numbers = tuple[int, ...]


class Meddled:
    """Adds one, and calls `meddle` while it decides: between the read and the write."""

    repeats: ClassVar[Repeats] = "unsafe"
    script: Script[int] | None = None

    def __init__(self, meddle: Callable[[int], object], *, wake: Sequence[str] = ()) -> None:
        self._meddle = meddle
        self._wake = wake
        self.runs = 0

    def __call__(self, states: Sequence[Numbers | None], now_us: int, /) -> Step[Numbers, int]:
        self.runs += 1
        self._meddle(self.runs)
        before = states[0][0] if states[0] else 0
        return [(before + 1,)], before, [3600.0], self._wake


class Harmless(Meddled):
    """The same, declared harmless to repeat; it says what it wrote in place of what it found."""

    repeats: ClassVar[Repeats] = "harmless"


class MeddledMany:
    """Adds one to each cell, and meddles."""

    repeats: ClassVar[Repeats] = "unsafe"
    script: Script[Any] | None = None

    def __init__(self, meddle: Callable[[int], object]) -> None:
        self._meddle = meddle
        self.runs = 0

    def __call__(self, states: Any, now_us: int, /) -> Any:
        self.runs += 1
        self._meddle(self.runs)
        before = [state[0] if state else 0 for state in states]
        return [(number + 1,) for number in before], before, [3600.0] * len(before), ()


class HarmlessMany(MeddledMany):
    repeats: ClassVar[Repeats] = "harmless"
