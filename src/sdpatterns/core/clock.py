"""Where this process reads the time, in one place, so that tests can put another clock there.

`SYSTEM` is read at each use, never copied, because guards are built at import time, long before a
test installs a virtual clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["SYSTEM", "Clock"]

_EPOCH_NS = time.time_ns() - time.monotonic_ns()


def _now_us() -> int:
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
        now_us: Callable[[], int] = _now_us,
    ) -> None:
        self.monotonic = monotonic
        self.now_us = now_us


SYSTEM = Clock()
