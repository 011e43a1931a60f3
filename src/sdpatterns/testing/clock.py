"""A clock that stands still until a test moves it."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sdpatterns.core import clock
from sdpatterns.core.forks import new_lock

__all__ = ["START_US", "VirtualClock"]

START_US = 1_700_000_000_000_000
"""Where a virtual clock starts: a round number of microseconds in November 2023."""

_FIRST_S = 1000.0


class VirtualClock:
    """Time for tests: both readings of `core.clock.SYSTEM`, moved by hand.

    ```python
    with VirtualClock() as clock:
        clock.advance(30.0)
    ```
    Inside the block every part of sdpatterns in this process reads this clock, and memory stores
    do as well. `advance` wakes no task: one that sleeps needs a loop that follows the clock
    (`VirtualLoop`, or `trio_clock` for trio).

    **Keeps**: it never goes back; a virtual instant is a whole number of microseconds.
    **May fail**: RuntimeError when another virtual clock is installed already; `ValueError` for
    a step back. **Costs**: nothing when not installed.
    """

    _installed: VirtualClock | None = None

    def __init__(self, *, reading: Callable[[], float] | None = None) -> None:
        self._lock = new_lock()
        self._passed_us = 0
        self._reading = reading
        self._before: tuple[Callable[[], float], Callable[[], int]] | None = None

    @classmethod
    def installed(cls) -> VirtualClock | None:
        """The one that is in force now."""
        return VirtualClock._installed

    @property
    def passed_us(self) -> int:
        """Microseconds since it was made."""
        if self._reading is not None:
            # Rounded up, so that a task that slept until an instant never wakes before it.
            return math.ceil(self._reading() * 1e6 - 1e-3)
        return self._passed_us

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return _FIRST_S + (self._passed_us if self._reading is None else self.passed_us) / 1e6

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return START_US + self.passed_us

    def advance(self, seconds: float) -> None:
        """Let time pass at once, rounded up to a microsecond."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds must be 0 or more and finite, got {seconds!r}: this clock never goes back")
        if self._reading is not None:
            raise RuntimeError("this clock follows another: advance that one")
        with self._lock:
            self._passed_us += math.ceil(seconds * 1e6 - 1e-3)

    def install(self) -> None:
        """Put this clock where sdpatterns reads the time. `with clock:` does so for a block."""
        if VirtualClock._installed is not None:
            raise RuntimeError("a virtual clock is installed already")
        self._before = (clock.SYSTEM.monotonic, clock.SYSTEM.now_us)
        VirtualClock._installed = self
        clock.SYSTEM.monotonic = self.monotonic
        clock.SYSTEM.now_us = self.now_us

    def uninstall(self) -> None:
        """Put back the clock that was there before."""
        if self._before is None:
            raise RuntimeError("this virtual clock is not installed")
        clock.SYSTEM.monotonic, clock.SYSTEM.now_us = self._before
        self._before = None
        VirtualClock._installed = None

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.uninstall()
