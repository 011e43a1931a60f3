"""Every algorithm of the limiter, under its name."""

from __future__ import annotations

from sdpatterns.traffic.ratelimit import GCRA, Algorithm, FixedWindow, LeakyBucket, SlidingCounter, SlidingLog

ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm for algorithm in (GCRA(), LeakyBucket(), FixedWindow(), SlidingLog(), SlidingCounter())
}
# Those that let several pass at once, which the leaky bucket does not.
AT_ONCE: dict[str, Algorithm] = {name: one for name, one in ALGORITHMS.items() if name != "leaky_bucket"}
