"""Rate limits per key, exact, in memory and across a fleet."""

from sdpatterns.core.outage import OnOutage
from sdpatterns.traffic.ratelimit.algorithm import Algorithm
from sdpatterns.traffic.ratelimit.algorithms import GCRA, FixedWindow, LeakyBucket, SlidingCounter, SlidingLog
from sdpatterns.traffic.ratelimit.answer import Decision, RateKey
from sdpatterns.traffic.ratelimit.config import Rate, Rates, per_day, per_hour, per_minute, per_second
from sdpatterns.traffic.ratelimit.guard import RateLimiter
from sdpatterns.traffic.ratelimit.notices import LimitBypassed, LimitReached

__all__ = [
    "GCRA",
    "Algorithm",
    "Decision",
    "FixedWindow",
    "LeakyBucket",
    "LimitBypassed",
    "LimitReached",
    "OnOutage",
    "Rate",
    "RateKey",
    "RateLimiter",
    "Rates",
    "SlidingCounter",
    "SlidingLog",
    "per_day",
    "per_hour",
    "per_minute",
    "per_second",
]
