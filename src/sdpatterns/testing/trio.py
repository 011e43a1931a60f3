"""Virtual time under trio: trio's own mock clock, which sdpatterns follows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sdpatterns.testing.clock import VirtualClock

try:
    from trio.testing import MockClock
except ImportError as error:
    raise ImportError('virtual time under trio needs trio: pip install "sdpatterns[trio]"') from error

__all__ = ["trio_clock"]


@contextmanager
def trio_clock() -> Iterator[MockClock]:
    """A clock for `trio.run(..., clock=clock)` that jumps when nothing is left to do.

    Inside the block sdpatterns reads the same time.
    """
    clock = MockClock(autojump_threshold=0)
    with VirtualClock(reading=clock.current_time):
        yield clock
