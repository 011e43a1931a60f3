"""The algorithms of the limiter beside GCRA, each with its chunk of Lua."""

from sdpatterns.traffic.ratelimit.meters.fixed_window import FixedWindow
from sdpatterns.traffic.ratelimit.meters.leaky_bucket import LeakyBucket
from sdpatterns.traffic.ratelimit.meters.sliding_counter import SlidingCounter
from sdpatterns.traffic.ratelimit.meters.sliding_log import SlidingLog
from sdpatterns.traffic.ratelimit.meters.token_bucket import TokenBucket

__all__ = ["FixedWindow", "LeakyBucket", "SlidingCounter", "SlidingLog", "TokenBucket"]
