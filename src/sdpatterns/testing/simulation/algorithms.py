"""The limiter's fleet once more, counting by each of its algorithms.

Promise: what was let through keeps what the algorithm says of itself, by an oracle that looks at
every start again; and no request is refused at once that the oracle would have let through.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sdpatterns.testing.simulation.limiter import EVENTS, Fleet, Start, over_the_limit
from sdpatterns.testing.simulation.record import Happened
from sdpatterns.testing.simulation.world import Run
from sdpatterns.traffic.ratelimit import GCRA, Algorithm, FixedWindow, LeakyBucket, Rate, SlidingCounter, SlidingLog
from sdpatterns.traffic.ratelimit.decision import Reserve

__all__ = ["ORACLES", "AlgorithmsWorld"]


def too_close(starts: Sequence[Start], rate: Rate) -> str:
    """Two starts with less than an interval for each unit of the first between them."""
    for one, other in itertools.pairwise(starts):
        if other.at_us - one.at_us < one.cost * rate.interval_us:
            return f"{one} and {other} at {rate}"
    return ""


def over_a_window_of_the_clock(starts: Sequence[Start], rate: Rate) -> str:
    """A window of the clock with more than the count."""
    for window, used in _windows(starts, rate).items():
        if used > rate.count:
            return f"{used} in window {window} at {rate}"
    return ""


def over_any_window(starts: Sequence[Start], rate: Rate) -> str:
    """A window, wherever it begins, with more than the count."""
    for begin in starts:
        used = sum(start.cost for start in starts if 0 <= start.at_us - begin.at_us < rate.window_us)
        if used > rate.count:
            return f"{used} in the window from {begin.at_us} at {rate}"
    return ""


def over_the_estimate(starts: Sequence[Start], rate: Rate) -> str:
    """A start at which this window and the share of the last one that is still covered exceed the count."""
    window_us = rate.window_us
    for last, start in enumerate(starts):
        each = _windows(starts[: last + 1], rate)
        window, into_us = divmod(int(start.at_us), window_us)
        if each[window] * window_us + each[window - 1] * (window_us - into_us) > rate.count * window_us:
            return f"{each[window]} and {each[window - 1]} before at {start.at_us} at {rate}"
    return ""


def _windows(starts: Sequence[Start], rate: Rate) -> Counter[int]:
    each: Counter[int] = Counter()
    for start in starts:
        each[int(start.at_us) // rate.window_us] += start.cost
    return each


ORACLES: Mapping[Algorithm, Callable[[Sequence[Start], Rate], str]] = {
    GCRA(): over_the_limit,
    LeakyBucket(): too_close,
    FixedWindow(): over_a_window_of_the_clock,
    SlidingLog(): over_any_window,
    SlidingCounter(): over_the_estimate,
}
"""What breaks the promise of each algorithm, among starts in the order of their time."""
_BURSTS = ("gcra", "leaky_bucket")


class AlgorithmsWorld:
    """See the module."""

    name = "algorithms"
    sometimes = (*EVENTS, *(algorithm.name for algorithm in ORACLES))

    async def play(self, run: Run) -> None:
        """A fleet that counts by one of the algorithms."""
        algorithm = run.chance.choice(list(ORACLES))
        run.note(algorithm.name)
        await _Fleet(run, algorithm).live()


class _Fleet(Fleet):
    def __init__(self, run: Run, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self.stored: dict[str, list[Start]] = {}
        super().__init__(run, algorithm)

    def rate(self) -> Rate:
        rate = super().rate()
        return rate if self.algorithm.name in _BURSTS else Rate(rate.count, rate.period_s)

    def start_of(self, happened: Happened) -> Start | None:
        step, start = happened.step, super().start_of(happened)
        if isinstance(step, Reserve) and start is None and not step.look and not step.wait_max_us:
            self._must_be_right_to_refuse(happened)
        if start is not None:
            for cell in happened.keys:
                self.stored.setdefault(cell, []).append(start)
        return start

    def _must_be_right_to_refuse(self, happened: Happened) -> None:
        step: Any = happened.step
        now = Start(happened.now_us, step.cost)
        for cell, limits in zip(happened.keys, step.cells, strict=True):
            stored = self.stored.get(cell, [])
            later = any(start.at_us > now.at_us for start in stored)
            if later or any(self.excess([*stored, now], limit.rate) for limit in limits):
                return
        self.run.violated(f"refused {now} though there was room: {self.stored}")

    def excess(self, starts: Sequence[Start], rate: Rate) -> str:
        return ORACLES[self.algorithm](sorted(starts), rate)
