"""Two counts, of this window and the one before, of which the older fades."""

from __future__ import annotations

import dataclasses

from sdpatterns.traffic.ratelimit.config import Rate
from sdpatterns.traffic.ratelimit.metered import AHEAD_ANY, Meter, Words, count_of

__all__ = ["SlidingCounter"]

_PRODUCT_MAX = 2**52


@dataclasses.dataclass(frozen=True)
class SlidingCounter(Meter, file="sliding_counter.lua", fresh=(0, 0, 0, 0)):
    """`count` in a sliding window, as estimated from two counts.

    The window before counts by the share of it that the sliding window still covers, as if its
    requests had been spread evenly; the share is in steps of a microsecond, or longer ones where
    count and period are so large that whole numbers would no longer be exact, and then it is rounded up.
    Keeps: the estimate never exceeds `count`, and no window of the clock holds more than `count`.
    Costs: four numbers for each rate, whatever the count.
    """

    def settings(self, rate: Rate) -> Words:
        """The window, how many pass in it, the step of the share, and how many steps a window has."""
        window_us, most = rate.window_us, count_of(rate, type(self).__name__)
        step_us = -(-most * window_us // _PRODUCT_MAX)
        return AHEAD_ANY, window_us, most, step_us, window_us // step_us

    def taken(self, words: Words, now_us: int, cost: int, settings: Words) -> tuple[Words, int]:
        """The window with its two counts and its last instant, which is when this request starts."""
        _, window_us, most, step_us, steps = settings
        at_us = max(now_us, words[3])
        start_us, before, used = self._seen_at(words, at_us, window_us)
        while True:
            room, next_us = most - used - cost, start_us + window_us
            passes_us = next_us
            if room >= 0:
                passes_us = max(at_us, next_us - room * steps // before * step_us) if before else at_us
            if passes_us < next_us:
                return (start_us, before, used + cost, passes_us), passes_us
            start_us, before, used, at_us = next_us, used, 0, max(at_us, next_us)

    def idle_at_us(self, words: Words, settings: Words) -> int:
        """When neither window is covered any more."""
        return words[0] + settings[1] * (2 if words[2] else 1)

    def left(self, words: Words, now_us: int, settings: Words) -> int:
        """What the estimate leaves, if nothing is booked after now."""
        _, window_us, most, step_us, steps = settings
        if words[3] > now_us:
            return 0
        start_us, before, used = self._seen_at(words, now_us, window_us)
        covered = -(-(start_us + window_us - now_us) // step_us)
        return max(0, most - used - -(-before * covered // steps))

    def _seen_at(self, words: Words, at_us: int, window_us: int) -> tuple[int, int, int]:
        start_us = at_us - at_us % window_us
        if words[0] >= start_us:
            return words[0], words[1], words[2]
        return (start_us, words[2], 0) if words[0] == start_us - window_us else (start_us, 0, 0)
