"""The instants of the last requests, each of them."""

from __future__ import annotations

import dataclasses

from sdpatterns.traffic.ratelimit.config import Rate
from sdpatterns.traffic.ratelimit.metered import AHEAD_ANY, Meter, Words, count_of

__all__ = ["SlidingLog"]


@dataclasses.dataclass(frozen=True)
class SlidingLog(Meter, file="sliding_log.lua"):
    """`count` in any window of the period, wherever it begins.

    Keeps: no stretch as long as the period, its end left out, ever holds more than `count`. Costs:
    an instant for each request of the period that passed, read and written with each decision, and
    therefore bounded: a rate of more than `entries_max` is refused when the limiter is built.
    """

    entries_max: int = 1_000

    def settings(self, rate: Rate) -> Words:
        """The window, and how many pass in it."""
        if rate.count > self.entries_max:
            raise ValueError(
                f"count must be at most {self.entries_max} for a SlidingLog, which keeps an instant for each"
                f" (entries_max), got {rate.count}"
            )
        return AHEAD_ANY, rate.window_us, count_of(rate, type(self).__name__)

    def taken(self, words: Words, now_us: int, cost: int, settings: Words) -> tuple[Words, int]:
        """The instants of the period with this one, and how many passed at each."""
        _, window_us, most = settings
        start_us, first, used = max(now_us, words[-2] if words else 0), 0, sum(words[1::2])
        while first < len(words) and (words[first] <= start_us - window_us or used + cost > most):
            start_us = max(start_us, words[first] + window_us)
            used -= words[first + 1]
            first += 2
        kept = words[first:]
        if kept and kept[-2] == start_us:
            return (*kept[:-1], kept[-1] + cost), start_us
        return (*kept, start_us, cost), start_us

    def idle_at_us(self, words: Words, settings: Words) -> int:
        """When the last of them is a period ago."""
        return (words[-2] if words else 0) + settings[1]

    def left(self, words: Words, now_us: int, settings: Words) -> int:
        """What the last period has left, if nothing is booked after now."""
        _, window_us, most = settings
        if words and words[-2] > now_us:
            return 0
        entries = zip(words[::2], words[1::2], strict=True)
        return max(0, most - sum(cost for at_us, cost in entries if at_us > now_us - window_us))
