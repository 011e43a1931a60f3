"""Every algorithm beside GCRA, under its name."""

from __future__ import annotations

from sdpatterns.traffic.ratelimit import FixedWindow, LeakyBucket, SlidingCounter, SlidingLog, TokenBucket
from sdpatterns.traffic.ratelimit.metered import Meter

METERS: dict[str, Meter] = {
    meter.name: meter for meter in (TokenBucket(), LeakyBucket(), FixedWindow(), SlidingLog(), SlidingCounter())
}
# Those that let several pass at once, which the leaky bucket does not.
AT_ONCE: dict[str, Meter] = {name: meter for name, meter in METERS.items() if name != "leaky_bucket"}
