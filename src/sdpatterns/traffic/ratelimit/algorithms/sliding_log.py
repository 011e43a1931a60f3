"""The instants of the last requests, each of them."""

from __future__ import annotations

import dataclasses

from sdpatterns.traffic.ratelimit.algorithm import BuiltIn, Numbers, count_of
from sdpatterns.traffic.ratelimit.config import Rate

__all__ = ["SlidingLog"]


@dataclasses.dataclass(frozen=True, repr=False)
class SlidingLog(BuiltIn, name="sliding_log"):
    """`count` in any window of the period, wherever it begins.

    Keeps: no stretch as long as the period, its end left out, ever holds more than `count`. Costs:
    an instant for each request of the period that passed, read and written with each decision, and
    therefore bounded: a rate of more than `entries_max` is refused when the limiter is built.
    """

    entries_max: int = 1_000

    def params(self, rate: Rate) -> Numbers:
        """The window, and how many pass in it."""
        if rate.count > self.entries_max:
            raise ValueError(
                f"count must be at most {self.entries_max} for a SlidingLog, which keeps an instant for each"
                f" (entries_max), got {rate.count}"
            )
        return rate.window_us, count_of(rate, type(self).__name__)

    def advance(self, state: Numbers, now_us: int, cost: int, params: Numbers) -> tuple[Numbers, int]:
        """The instants of the period with this one, and how many passed at each."""
        window_us, most = params
        start_us, first, used = max(now_us, state[-2] if state else 0), 0, sum(state[1::2])
        while first < len(state) and (state[first] <= start_us - window_us or used + cost > most):
            start_us = max(start_us, state[first] + window_us)
            used -= state[first + 1]
            first += 2
        kept = state[first:]
        if kept and kept[-2] == start_us:
            return (*kept[:-1], kept[-1] + cost), start_us
        return (*kept, start_us, cost), start_us

    def idle_at_us(self, state: Numbers, params: Numbers) -> int:
        """When the last of them is a period ago."""
        return (state[-2] if state else 0) + params[0]

    def remaining(self, state: Numbers, now_us: int, params: Numbers) -> int:
        """What the last period has left, if nothing is reserved for later."""
        window_us, most = params
        if state and state[-2] > now_us:
            return 0
        entries = zip(state[::2], state[1::2], strict=True)
        return max(0, most - sum(cost for at_us, cost in entries if at_us > now_us - window_us))
