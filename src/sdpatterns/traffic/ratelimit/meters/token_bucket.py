"""A bucket of tokens that fills steadily: what a request finds in it may pass at once."""

from __future__ import annotations

import dataclasses
import math

from sdpatterns.traffic.ratelimit.config import Rate
from sdpatterns.traffic.ratelimit.metered import AHEAD_ANY, Meter, Words

__all__ = ["TokenBucket"]

_PARTS_MAX = 2**52


@dataclasses.dataclass(frozen=True)
class TokenBucket(Meter, file="token_bucket.lua", fresh=(0, 0)):
    """`burst` tokens at most, `count` new ones in each period.

    Keeps: in any time t at most `burst + t * count / period` pass. What it admits is what GCRA
    admits, except at a rate that does not divide its period into whole microseconds, which GCRA keeps
    a little low: here a token is cut into parts, so that a whole number of them comes back in each
    microsecond. Costs: two numbers for each rate.
    """

    def settings(self, rate: Rate) -> Words:
        """Parts of a token, parts that come back in a microsecond, and parts of the whole bucket."""
        window_us = rate.window_us
        common = math.gcd(rate.count, window_us)
        part, fill = window_us // common, rate.count // common
        if part * rate.limit + fill > _PARTS_MAX:
            raise ValueError(
                f"burst must be at most {(_PARTS_MAX - fill) // part} for a TokenBucket of {rate.count} per"
                f" {rate.period_s:g} s, got {rate.limit}"
            )
        return AHEAD_ANY, part, fill, part * rate.limit

    def taken(self, words: Words, now_us: int, cost: int, settings: Words) -> tuple[Words, int]:
        """The parts that are spent then, and when the tokens are there."""
        _, part, fill, whole = settings
        start_us = max(now_us, words[1])
        spent = self._spent(words, start_us, settings)
        over = spent + cost * part - whole
        if over > 0:
            pause_us = -(-over // fill)
            start_us, spent = start_us + pause_us, max(0, spent - pause_us * fill)
        return (spent + cost * part, start_us), start_us

    def idle_at_us(self, words: Words, settings: Words) -> int:
        """When the bucket is full."""
        return words[1] - (-min(words[0], settings[3]) // settings[2])

    def left(self, words: Words, now_us: int, settings: Words) -> int:
        """The whole tokens in it."""
        return 0 if words[1] > now_us else (settings[3] - self._spent(words, now_us, settings)) // settings[1]

    def _spent(self, words: Words, at_us: int, settings: Words) -> int:
        # A state from before a change of the rate may hold more than the bucket does now.
        return max(0, min(words[0], settings[3]) - (at_us - words[1]) * settings[2])
