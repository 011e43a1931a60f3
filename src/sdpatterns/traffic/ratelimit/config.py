"""Rates: how many, in what time, and how many of them at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

__all__ = ["Rate", "Rates", "per_day", "per_hour", "per_minute", "per_second"]

_DAY_S = 86_400.0
_PERIOD_MAX_S = 366 * _DAY_S
_COUNT_MAX = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class Rate:
    """`count` requests per `period_s` seconds, `burst` of them at once (default: all of them).

    The interval between two requests is a whole number of microseconds, rounded up: a rate that
    does not divide a second evenly is kept low by less than one part in `interval_us`. A rate of
    more than one request a microsecond is refused.
    """

    count: int
    period_s: float
    burst: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check the fields. Raises `ValueError` naming the one that is out of range."""
        _whole("count", self.count, 1, _COUNT_MAX)
        if self.burst is not None:
            _whole("burst", self.burst, 1, _COUNT_MAX)
        if not 0 < self.period_s <= _PERIOD_MAX_S:
            raise ValueError(f"period_s must be above 0 and at most 366 days, got {self.period_s!r}")
        if self.count > self.period_s * 1_000_000:
            raise ValueError(f"count must be at most one a microsecond, got {self.count!r}")
        if self.tolerance_us > 2**51:
            raise ValueError(f"burst must refill within 71 years, got {self.burst!r}")

    @property
    def interval_us(self) -> int:
        """Microseconds between two requests at the steady rate."""
        return -(-self.window_us // self.count)

    @property
    def window_us(self) -> int:
        """Microseconds of a period."""
        return round(self.period_s * 1_000_000)

    @property
    def limit(self) -> int:
        """How many pass at once when nothing was used: the burst."""
        return self.count if self.burst is None else self.burst

    @property
    def tolerance_us(self) -> int:
        """How far ahead of now the bookings may reach."""
        return self.limit * self.interval_us


Rates: TypeAlias = Rate | Sequence[Rate] | Mapping[str, Rate | Sequence[Rate]]
"""One rate; several that all must hold; or such by the name of a scope (`{"user": ..., "ip": ...}`)."""


def _whole(field: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field} must be a whole number from {low} to {high}, got {value!r}")


def per_second(count: int, *, burst: int | None = None) -> Rate:
    """`count` a second, `burst` at once (default `count`)."""
    return Rate(count, 1.0, burst=burst)


def per_minute(count: int, *, burst: int | None = None) -> Rate:
    """`count` a minute, `burst` at once (default `count`)."""
    return Rate(count, 60.0, burst=burst)


def per_hour(count: int, *, burst: int | None = None) -> Rate:
    """`count` an hour, `burst` at once (default `count`)."""
    return Rate(count, 3_600.0, burst=burst)


def per_day(count: int, *, burst: int | None = None) -> Rate:
    """`count` in 24 hours, `burst` at once (default `count`)."""
    return Rate(count, _DAY_S, burst=burst)
