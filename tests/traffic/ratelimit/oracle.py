"""A limiter as one would explain it: a bucket that leaks, replayed from the first request on."""

from __future__ import annotations

from collections.abc import Sequence

from sdpatterns.traffic.ratelimit import Rate


class Leaky:
    """Every admitted request pours `cost * interval` in; the bucket leaks one microsecond a microsecond."""

    def __init__(self, *rates: Rate) -> None:
        self.rates = rates
        self.admitted: list[tuple[int, int]] = []

    def level(self, rate: Rate, now_us: int) -> int:
        level, last_us = 0, 0
        for at_us, cost in self.admitted:
            level = max(0, level - (at_us - last_us)) + cost * rate.interval_us
            last_us = at_us
        return max(0, level - (now_us - last_us))

    def acquire(self, now_us: int, cost: int = 1) -> bool:
        fits = all(
            self.level(rate, now_us) + cost * rate.interval_us <= rate.limit * rate.interval_us for rate in self.rates
        )
        if fits:
            self.admitted.append((now_us, cost))
        return fits

    def remaining(self, now_us: int) -> int:
        return min((rate.tolerance_us - self.level(rate, now_us)) // rate.interval_us for rate in self.rates)


def most_in_any_window(admitted: Sequence[tuple[int, int]], window_us: int) -> int:
    """The largest number of units admitted in any stretch of so many microseconds."""
    return max(
        (sum(cost for at, cost in admitted if start <= at <= start + window_us) for start, _ in admitted), default=0
    )
