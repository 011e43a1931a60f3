"""The limiter's fleet once more, counting by each of its other algorithms.

Promise: what was let through keeps what the algorithm says of itself, by an oracle that looks at
every start again; and no request is refused at once that the oracle would have let through.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sdpatterns.testing.simulation.limiter import EVENTS, Fleet, Start
from sdpatterns.testing.simulation.record import Happened
from sdpatterns.testing.simulation.world import Run
from sdpatterns.traffic.ratelimit import FixedWindow, LeakyBucket, Rate, SlidingCounter, SlidingLog, TokenBucket
from sdpatterns.traffic.ratelimit.metered import Meter, Take, TakeMany

__all__ = ["ORACLES", "MetersWorld"]


def over_the_tokens(starts: Sequence[Start], rate: Rate) -> str:
    """A stretch of time with more than the bucket held and what came into it."""
    for first, begin in enumerate(starts):
        spent = 0
        for last in starts[first:]:
            spent += last.cost
            if (spent - rate.limit) * rate.window_us > (last.at_us - begin.at_us) * rate.count:
                return f"{spent} within {(last.at_us - begin.at_us) / 1e6:.6f} s at {rate}"
    return ""


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


ORACLES: Mapping[Meter, Callable[[Sequence[Start], Rate], str]] = {
    TokenBucket(): over_the_tokens,
    LeakyBucket(): too_close,
    FixedWindow(): over_a_window_of_the_clock,
    SlidingLog(): over_any_window,
    SlidingCounter(): over_the_estimate,
}
"""What breaks the promise of each algorithm, among starts in the order of their time."""
_BURSTS = ("token_bucket", "leaky_bucket")


class MetersWorld:
    """See the module."""

    name = "meters"
    sometimes = (*EVENTS, *(meter.name for meter in ORACLES))

    async def play(self, run: Run) -> None:
        """A fleet that counts by one of the algorithms."""
        meter = run.chance.choice(list(ORACLES))
        run.note(meter.name)
        await _Fleet(run, meter).live()


class _Fleet(Fleet):
    def __init__(self, run: Run, meter: Meter) -> None:
        self.meter = meter
        self.stored: dict[str, list[Start]] = {}
        super().__init__(run, meter)

    def rate(self) -> Rate:
        rate = super().rate()
        return rate if self.meter.name in _BURSTS else Rate(rate.count, rate.period_s)

    def start_of(self, happened: Happened) -> Start | None:
        step, answer = happened.step, happened.answer
        if not isinstance(step, Take | TakeMany):
            return None
        takings = answer if isinstance(step, TakeMany) else [answer]
        if not takings[0].allowed and not step.wait_max_us:
            self._must_be_right_to_refuse(happened)
        if not takings[0].allowed or step.look:
            return None
        start = Start(max(start_us for taking in takings for start_us in taking.starts_us), step.cost)
        for cell in happened.keys:
            self.stored.setdefault(cell, []).append(start)
        return start

    def _must_be_right_to_refuse(self, happened: Happened) -> None:
        step: Any = happened.step
        now = Start(happened.now_us, step.cost)
        for cell, limits in zip(happened.keys, step.limits, strict=True):
            stored = self.stored.get(cell, [])
            later = any(start.at_us > now.at_us for start in stored)
            if later or any(self.excess([*stored, now], limit.rate) for limit in limits):
                return
        self.run.violated(f"refused {now} though there was room: {self.stored}")

    def excess(self, starts: Sequence[Start], rate: Rate) -> str:
        return ORACLES[self.meter](sorted(starts), rate)
