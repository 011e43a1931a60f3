"""The pytest plugin: fixtures for tests of code that uses sdpatterns.

| fixture | gives |
|---|---|
| `virtual_clock` | a `VirtualClock`, installed for the test: `virtual_clock.advance(30)` |
| `no_waiting` | the same clock, and sdpatterns never waits: a pause passes at once, on the clock |
| `memory_backend` | a fresh `MemoryBackend` |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sdpatterns.backends.memory import MemoryBackend
    from sdpatterns.testing.clock import VirtualClock

__all__ = ["memory_backend", "no_waiting", "virtual_clock"]


@pytest.fixture
def virtual_clock() -> Iterator[VirtualClock]:
    """A clock that stands still until `advance(seconds)`; all of sdpatterns reads it."""
    from sdpatterns.testing.clock import VirtualClock

    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def no_waiting(virtual_clock: VirtualClock) -> Iterator[VirtualClock]:
    """Pauses of sdpatterns (a retry's, a limiter's) take no time and move the virtual clock on.

    Your own sleeps stay as they are. Gives the clock.
    """
    from sdpatterns.testing.waiting import pauses_pass_on

    with pauses_pass_on(virtual_clock):
        yield virtual_clock


@pytest.fixture
def memory_backend() -> MemoryBackend:
    """A backend in this process's memory, empty."""
    from sdpatterns.backends.memory import MemoryBackend

    return MemoryBackend()
