"""Where this process reads the time, in one place, so that tests can put another clock there.

`SYSTEM` is read at each use, never copied, because guards are built at import time, long before a
test installs a virtual clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["SHIFTED_EPOCH_US", "SYSTEM", "WHOLE", "Clock", "process_now_us"]

_EPOCH_NS = time.time_ns() - time.monotonic_ns()

WHOLE = 2.0**52
"""A float so large that nothing is left of a fraction that is added to it."""
SHIFTED_EPOCH_US = _EPOCH_NS // 1000 + WHOLE
"""`time.monotonic() * 1e6 + SHIFTED_EPOCH_US - WHOLE` is `process_now_us()` as a whole float, to
the nearest microsecond, in a third of its time: for those who read the clock in a hot place."""


def process_now_us() -> int:
    """Microseconds since 1970 by the clock that this process started with."""
    return (time.monotonic_ns() + _EPOCH_NS) // 1000


class Clock:
    """Two readings of one clock.

    `monotonic()` gives seconds from an arbitrary start, `now_us()` integer microseconds since 1970.
    Both only grow: `now_us` is the wall clock as it stood when the process started, carried on by
    the monotonic one, so that a stepped wall clock or a change of time zone moves nothing.
    """

    __slots__ = ("monotonic", "now_us")

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = process_now_us,
    ) -> None:
        self.monotonic = monotonic
        self.now_us = now_us


SYSTEM = Clock()
