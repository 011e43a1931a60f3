"""Two counts, of this window and the one before. The older one counts less and less."""

from __future__ import annotations

import dataclasses

from sdpatterns.traffic.ratelimit.algorithm import BuiltIn, Numbers, count_of
from sdpatterns.traffic.ratelimit.config import Rate

__all__ = ["SlidingCounter"]

_PRODUCT_MAX = 2**52


@dataclasses.dataclass(frozen=True, repr=False)
class SlidingCounter(BuiltIn, name="sliding_counter", initial=(0, 0, 0, 0)):
    """`count` in a sliding window, as estimated from two counts.

    The window before counts by the share of it that the sliding window still covers, as if its
    requests had been spread evenly; the share is in steps of a microsecond, or longer ones where
    count and period are so large that whole numbers would no longer be exact, and then it is rounded up.
    Keeps: the estimate never exceeds `count`, and no window of the clock holds more than `count`.
    Costs: four numbers for each rate, however large the count is.
    """

    def params(self, rate: Rate) -> Numbers:
        """The window, how many pass in it, the step of the share, and how many steps a window has."""
        window_us, most = rate.window_us, count_of(rate, type(self).__name__)
        step_us = -(-most * window_us // _PRODUCT_MAX)
        return window_us, most, step_us, window_us // step_us

    def advance(self, state: Numbers, now_us: int, cost: int, params: Numbers) -> tuple[Numbers, int]:
        """The window with its two counts and its last instant, which is when this request starts."""
        window_us, most, step_us, steps = params
        at_us = max(now_us, state[3])
        start_us, before, used = self._seen_at(state, at_us, window_us)
        while True:
            room, next_us = most - used - cost, start_us + window_us
            passes_us = next_us
            if room >= 0:
                passes_us = max(at_us, next_us - room * steps // before * step_us) if before else at_us
            if passes_us < next_us:
                return (start_us, before, used + cost, passes_us), passes_us
            start_us, before, used, at_us = next_us, used, 0, max(at_us, next_us)

    def idle_at_us(self, state: Numbers, params: Numbers) -> int:
        """When neither window is covered any more."""
        return state[0] + params[0] * (2 if state[2] else 1)

    def remaining(self, state: Numbers, now_us: int, params: Numbers) -> int:
        """What the estimate leaves, if nothing is reserved for later."""
        window_us, most, step_us, steps = params
        if state[3] > now_us:
            return 0
        start_us, before, used = self._seen_at(state, now_us, window_us)
        covered = -(-(start_us + window_us - now_us) // step_us)
        return max(0, most - used - -(-before * covered // steps))

    def _seen_at(self, state: Numbers, at_us: int, window_us: int) -> tuple[int, int, int]:
        start_us = at_us - at_us % window_us
        if state[0] >= start_us:
            return state[0], state[1], state[2]
        return (start_us, state[2], 0) if state[0] == start_us - window_us else (start_us, 0, 0)
