"""How busy the connections of a backend are, for metrics.

A backend that has connections says so by `pressure()`; nothing else in the ports needs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Protocol

from sdpatterns.core.forks import new_lock

__all__ = ["Pressed", "Pressure", "Usage", "sum_of"]


class Pressure(NamedTuple):
    """What all connections of a backend in this process bear now."""

    used: int
    """Connections at work."""
    capacity: int
    """Connections that there may be."""
    waiting: int
    """Steps, or threads with one, that wait for their turn on a connection."""
    errors: int
    """Times that a connection broke, or could not be had."""


class Pressed(Protocol):
    """Something that reports how busy it is."""

    def pressure(self) -> Pressure:
        """How busy it is now. Any thread may ask; it never waits."""
        ...


class Usage:
    """Counts what is in it (`with`) and what failed. Any thread may."""

    __slots__ = ("_lock", "errors", "used")

    def __init__(self) -> None:
        self._lock = new_lock()
        self.used = 0
        self.errors = 0

    def __enter__(self) -> None:
        with self._lock:
            self.used += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self.used -= 1

    def fail(self) -> None:
        """One more failure."""
        with self._lock:
            self.errors += 1


def sum_of(pressures: Iterable[Pressure], *, waiting: int = 0) -> Pressure:
    """All of them together, and so many more that wait in front of them."""
    used, capacity, behind, errors = [sum(column) for column in zip((0, 0, 0, 0), *pressures, strict=True)]
    return Pressure(used, capacity, behind + waiting, errors)
