"""The algorithms of the limiter, each with its chunk of Lua."""

from sdpatterns.traffic.ratelimit.algorithms.fixed_window import FixedWindow
from sdpatterns.traffic.ratelimit.algorithms.gcra import GCRA
from sdpatterns.traffic.ratelimit.algorithms.leaky_bucket import LeakyBucket
from sdpatterns.traffic.ratelimit.algorithms.sliding_counter import SlidingCounter
from sdpatterns.traffic.ratelimit.algorithms.sliding_log import SlidingLog

__all__ = ["GCRA", "FixedWindow", "LeakyBucket", "SlidingCounter", "SlidingLog"]
