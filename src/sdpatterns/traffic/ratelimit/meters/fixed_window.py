"""A count that starts from zero with each window of the clock."""

from __future__ import annotations

import dataclasses

from sdpatterns.traffic.ratelimit.config import Rate
from sdpatterns.traffic.ratelimit.metered import AHEAD_ANY, Meter, Words, count_of

__all__ = ["FixedWindow"]


@dataclasses.dataclass(frozen=True)
class FixedWindow(Meter, file="fixed_window.lua", fresh=(0, 0)):
    """`count` in each window of the period; the windows are those of the store's clock since 1970.

    Keeps: no window ever holds more than `count`. That says nothing of a time that lies across the
    edge of two: `count` at the end of one and `count` at the start of the next may pass within
    moments. Costs: two numbers for each rate.
    """

    def settings(self, rate: Rate) -> Words:
        """The window, and how many pass in it."""
        return AHEAD_ANY, rate.window_us, count_of(rate, type(self).__name__)

    def taken(self, words: Words, now_us: int, cost: int, settings: Words) -> tuple[Words, int]:
        """The last window that is used, and the count in it."""
        _, window_us, most = settings
        start_us = max(words[0], now_us - now_us % window_us)
        used = words[1] if start_us == words[0] else 0
        if used + cost > most:
            start_us, used = start_us + window_us, 0
        return (start_us, used + cost), max(now_us, start_us)

    def idle_at_us(self, words: Words, settings: Words) -> int:
        """The end of that window."""
        return words[0] + settings[1]

    def left(self, words: Words, now_us: int, settings: Words) -> int:
        """What this window has left, if no later one is booked."""
        _, window_us, most = settings
        if words[0] > now_us:
            return 0
        return max(0, most - words[1]) if now_us - now_us % window_us <= words[0] else most
