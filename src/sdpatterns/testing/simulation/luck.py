"""Faults with names, so that a run can be repeated with a few of them only."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from typing import NamedTuple

__all__ = ["Luck", "Struck"]


class Struck(NamedTuple):
    """A fault that struck: `paused@n2#7` is the 7th time at which node 2 could have been paused."""

    name: str
    at_s: float


class Luck:
    """Decides which faults strike. Each place and kind of fault has random numbers of its own, from one seed.

    So a fault that is left out changes nothing about the others but through what it caused.

    **Keeps**: the same seed and the same questions give the same answers; with `only`, no other fault strikes.
    """

    def __init__(
        self, seed: int, now_s: Callable[[], float], fired: Counter[str], only: Collection[str] | None = None
    ) -> None:
        self.struck: list[Struck] = []
        self._seed = seed
        self._now_s = now_s
        self._fired = fired
        self._only = only
        self._streams: dict[tuple[str, str], random.Random] = {}
        self._places: dict[tuple[str, str], _Place] = {}

    def stream(self, who: str, what: str) -> random.Random:
        """The random numbers of one place for one purpose."""
        found = self._streams.get((who, what))
        if found is None:
            found = self._streams[who, what] = random.Random(f"{self._seed} {who} {what}")
        return found

    def draw(self, who: str, fault: str, chance: float) -> float | None:
        """How hard this fault strikes there now, from 0 to 1; None where it does not."""
        if chance <= 0:
            return None
        place = self._places.get((who, fault))
        if place is None:
            place = self._places[who, fault] = _Place(self.stream(who, fault).random)
        place.asked += 1
        drawn = place.random()
        if drawn >= chance:
            return None
        name = f"{fault}@{who}#{place.asked}"
        if self._only is not None and name not in self._only:
            return None
        self.struck.append(Struck(name, self._now_s()))
        self._fired[fault] += 1
        # What is left of the number, which is as random.
        return drawn / chance


class _Place:
    """How often a fault could have struck at one place, and the random numbers that say when it does."""

    __slots__ = ("asked", "random")

    def __init__(self, random: Callable[[], float]) -> None:
        self.asked = 0
        self.random = random
