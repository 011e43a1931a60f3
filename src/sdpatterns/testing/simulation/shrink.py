"""The fewest faults under which a seed still breaks its promise.

Source: Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (2002).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sdpatterns.testing.simulation.world import Outcome, World, simulate

__all__ = ["Shrunk", "shrink"]


class Shrunk(NamedTuple):
    """The outcome with the fewest faults that were found, and in how many runs."""

    outcome: Outcome
    runs: int


def shrink(world: World, found: Outcome, *, runs_max: int = 200) -> Shrunk:
    """Leave out faults of a seed that broke a promise, for as long as the same promise breaks.

    **Keeps**: what it gives breaks it again under `simulate(world, seed, names)`.
    **Costs** up to `runs_max` runs of the seed.
    """
    broken = _promises(found)
    best, runs = found, 0

    def breaks(names: Sequence[str]) -> bool:
        """Whether these faults alone are enough."""
        nonlocal best, runs
        if runs >= runs_max:
            return False
        runs += 1
        outcome = simulate(world, found.seed, frozenset(names))
        if not _promises(outcome) & broken:
            return False
        if len(outcome.faults) <= len(best.faults):
            best = outcome
        return True

    _fewest([fault.name for fault in found.faults], breaks)
    return Shrunk(best, runs)


def _promises(outcome: Outcome) -> set[str]:
    """What was broken, without the numbers and names of one history."""
    return {re.sub(r"[\w.#]*\d[\w.#]*", "_", words) for words in outcome.violations}


def _fewest(names: Sequence[str], breaks: Callable[[Sequence[str]], bool]) -> None:
    """Delta debugging: try to leave out ever smaller parts."""
    left = list(names)
    if not left or breaks([]):
        return
    size = (len(left) + 1) // 2
    while left:
        place, is_smaller = 0, False
        while place < len(left):
            fewer = left[:place] + left[place + size :]
            if breaks(fewer):
                left, is_smaller = fewer, True
            else:
                place += size
        if size == 1 and not is_smaller:
            return
        size = size if is_smaller and size == 1 else max(1, size // 2)
