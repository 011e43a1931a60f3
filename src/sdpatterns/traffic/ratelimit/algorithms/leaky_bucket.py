"""A bucket with a hole: requests that come at once start one interval after the other."""

from __future__ import annotations

import dataclasses

from sdpatterns.traffic.ratelimit.algorithm import BuiltIn, Numbers
from sdpatterns.traffic.ratelimit.config import Rate

__all__ = ["LeakyBucket"]


@dataclasses.dataclass(frozen=True, repr=False)
class LeakyBucket(BuiltIn, name="leaky_bucket", initial=(0,)):
    """Requests start one interval apart, and at most `burst` intervals of them are in the bucket.

    It shapes traffic, so call `wait`. `acquire`, which never waits, passes only if the bucket is empty.
    Keeps: two requests of cost 1 never start closer than an interval, and none is reserved further ahead
    than `burst - 1` intervals. Costs: one number for each rate.
    """

    def params(self, rate: Rate) -> Numbers:
        """The interval."""
        return (rate.interval_us,)

    def advance(self, state: Numbers, now_us: int, cost: int, params: Numbers) -> tuple[Numbers, int]:
        """When the last drop will have left, and when this request does."""
        start_us = max(now_us, state[0])
        return (start_us + cost * params[0],), start_us

    def idle_at_us(self, state: Numbers, params: Numbers) -> int:
        """When the bucket is empty."""
        return state[0]

    def remaining(self, state: Numbers, now_us: int, params: Numbers) -> int:
        """One, if the bucket is empty."""
        return 1 if state[0] <= now_us else 0

    def limit(self, rate: Rate) -> int:
        """One, because the others wait."""
        return 1

    def ahead_max_us(self, rate: Rate) -> int:
        """How far the bucket reaches ahead."""
        return (rate.limit - 1) * rate.interval_us
