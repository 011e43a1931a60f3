"""A bucket with a hole: whatever comes in at once leaves drop by drop."""

from __future__ import annotations

import dataclasses

from sdpatterns.traffic.ratelimit.config import Rate
from sdpatterns.traffic.ratelimit.metered import Meter, Words

__all__ = ["LeakyBucket"]


@dataclasses.dataclass(frozen=True)
class LeakyBucket(Meter, file="leaky_bucket.lua", fresh=(0,)):
    """Requests start one interval apart, and at most `burst` intervals of them are in the bucket.

    It shapes: `wait` is what it is for. `acquire`, which never waits, passes only while nobody is
    in the bucket. Keeps: two requests of cost 1 never start closer than an interval, and none is
    booked further ahead than `burst - 1` intervals. Costs: one number for each rate.
    """

    def settings(self, rate: Rate) -> Words:
        """How far ahead the bucket reaches, and the interval."""
        return (rate.limit - 1) * rate.interval_us, rate.interval_us

    def taken(self, words: Words, now_us: int, cost: int, settings: Words) -> tuple[Words, int]:
        """When the last drop will have left, and when this request does."""
        start_us = max(now_us, words[0])
        return (start_us + cost * settings[1],), start_us

    def idle_at_us(self, words: Words, settings: Words) -> int:
        """When the bucket is empty."""
        return words[0]

    def left(self, words: Words, now_us: int, settings: Words) -> int:
        """One, if the bucket is empty."""
        return 1 if words[0] <= now_us else 0

    def most(self, rate: Rate) -> int:
        """One: the others wait."""
        return 1
