"""A count that starts from zero with each window of the clock."""

from __future__ import annotations

import dataclasses

from sdpatterns.traffic.ratelimit.algorithm import BuiltIn, Numbers, count_of
from sdpatterns.traffic.ratelimit.config import Rate

__all__ = ["FixedWindow"]


@dataclasses.dataclass(frozen=True, repr=False)
class FixedWindow(BuiltIn, name="fixed_window", initial=(0, 0)):
    """`count` in each window of the period; the windows are those of the store's clock since 1970.

    Keeps: no window ever holds more than `count`. That says nothing of a time that lies across the
    edge of two: `count` at the end of one and `count` at the start of the next may pass within
    a moment. Costs: two numbers for each rate.
    """

    def params(self, rate: Rate) -> Numbers:
        """The window, and how many pass in it."""
        return rate.window_us, count_of(rate, type(self).__name__)

    def advance(self, state: Numbers, now_us: int, cost: int, params: Numbers) -> tuple[Numbers, int]:
        """The last window that is used, and the count in it."""
        window_us, most = params
        start_us = max(state[0], now_us - now_us % window_us)
        used = state[1] if start_us == state[0] else 0
        if used + cost > most:
            start_us, used = start_us + window_us, 0
        return (start_us, used + cost), max(now_us, start_us)

    def idle_at_us(self, state: Numbers, params: Numbers) -> int:
        """The end of that window."""
        return state[0] + params[0]

    def remaining(self, state: Numbers, now_us: int, params: Numbers) -> int:
        """What this window has left, if nothing is reserved in a later one."""
        window_us, most = params
        if state[0] > now_us:
            return 0
        return max(0, most - state[1]) if now_us - now_us % window_us <= state[0] else most
