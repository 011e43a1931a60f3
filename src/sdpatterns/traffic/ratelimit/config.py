"""Rates: how many, in what time, and how many of them at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from sdpatterns.core.ranges import whole
from sdpatterns.core.spelling import explained

__all__ = ["Rate", "Rates", "per_day", "per_hour", "per_minute", "per_second"]

_DAY_S = 86_400.0
_PERIOD_MAX_S = 366 * _DAY_S
_COUNT_MAX = 1_000_000_000
_TEXT = re.compile(
    r"(?P<count>[0-9]+) *(?:/| per ) *"
    r"(?P<periods>[0-9]+(?:\.[0-9]+)?)? *"
    r"(?:(?P<s>s|sec|seconds?)|(?P<m>m|min|minutes?)|(?P<h>h|hours?)|(?P<d>d|days?))"
    r"(?: +burst +(?P<burst>[0-9]+))?"
)
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": _DAY_S}
_WORDS = {1.0: "second", 60.0: "minute", 3_600.0: "hour", _DAY_S: "day"}


@explained
class Rate:
    """`count` requests per `period_s` seconds, `burst` of them at once (default: all of them).

    `Rate.parse("100/minute burst 20")` reads one from text, and `str(rate)` writes it. A model of pydantic
    takes such a text for a field of this type.

    The interval between two requests is a whole number of microseconds, rounded up: a rate that
    does not divide a second evenly is kept low by less than one part in `interval_us`. A rate of
    more than one request a microsecond is refused.
    """

    # Not a dataclass, because pydantic-settings takes a dataclass's variable for JSON, and a rate is a text.
    __slots__ = ("burst", "count", "period_s")
    __match_args__ = ("count", "period_s")

    count: int
    period_s: float
    burst: int | None

    def __init__(self, count: int, period_s: float, *, burst: int | None = None) -> None:
        whole("count", count, 1, _COUNT_MAX, hint=_hint(count))
        if burst is not None:
            whole("burst", burst, 1, _COUNT_MAX, hint=_hint(burst))
        if type(period_s) not in (int, float) or not 0 < period_s <= _PERIOD_MAX_S:
            raise ValueError(f"period_s must be above 0 and at most 366 days, in seconds, got {period_s!r}")
        if count > period_s * 1_000_000:
            raise ValueError(f"count must be at most one a microsecond, got {count!r}")
        for field, value in (("count", count), ("period_s", period_s), ("burst", burst)):
            object.__setattr__(self, field, value)
        if self.tolerance_us > 2**51:
            raise ValueError(f"burst must refill within 71 years, got {burst!r}")

    def __setattr__(self, field: str, value: object) -> None:
        raise AttributeError(f"a Rate does not change: make another one for {field} = {value!r}")

    def __delattr__(self, field: str) -> None:
        raise AttributeError(f"a Rate does not change: {field} stays")

    def __eq__(self, other: object) -> bool:
        return self._fields() == other._fields() if isinstance(other, Rate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"Rate(count={self.count!r}, period_s={self.period_s!r}, burst={self.burst!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rate, self._fields()

    def _fields(self) -> tuple[int, float, int | None]:
        return self.count, self.period_s, self.burst

    @classmethod
    def parse(cls, text: str, /) -> Rate:
        """A rate from text: `"5/s"`, `"100 per hour"`, `"10/15s"`, `"100/minute burst 20"`.

        A count, `/` or `per`, an optional number of periods (1.5 too), one of s, sec, second, m, min, minute,
        h, hour, d, day or their plurals, and an optional burst. Raises `ValueError` for any other text, and
        for a rate out of range.
        """
        given: object = text
        found = _TEXT.fullmatch(given.strip()) if isinstance(given, str) else None
        if found is None:
            raise ValueError(
                f"a rate is written like '5/s', '100 per hour', '10/15s' or '100/minute burst 20', got {text!r}"
            )
        unit_s = next(unit_s for unit, unit_s in _UNITS_S.items() if found[unit])
        burst = None if found["burst"] is None else _number("burst", found["burst"])
        return cls(_number("count", found["count"]), float(found["periods"] or 1) * unit_s, burst=burst)

    def __str__(self) -> str:
        period = _WORDS.get(self.period_s) or _decimal(self.period_s) + "s"
        return f"{self.count}/{period}" + ("" if self.burst is None else f" burst {self.burst}")

    @classmethod
    def _taken(cls, value: Any) -> Rate:
        return value if isinstance(value, Rate) else cls.parse(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> dict[str, Any]:
        # The schema that pydantic asks a type for, written as plain dicts because pydantic is not imported: a
        # text is parsed, a rate is taken as it is, and JSON holds the text.
        read = {"type": "function-after", "schema": {"type": "str"}, "function": _without_info(cls.parse)}
        either = {"type": "function-plain", "function": _without_info(cls._taken)}
        written = {"type": "to-string", "when_used": "json-unless-none"}
        return {"type": "json-or-python", "json_schema": read, "python_schema": either, "serialization": written}

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
"""One rate; several that all must hold; or rates by the name of a scope (`{"user": ..., "ip": ...}`)."""


def _rate(count: int, period_s: float, burst: int | None) -> Rate:
    return Rate(count, period_s, burst=burst)


def _without_info(function: Any) -> dict[str, Any]:
    return {"type": "no-info", "function": function}


def _decimal(value: float) -> str:
    """The shortest text of digits that is read as the same number."""
    return f"{Decimal(repr(float(value))):f}".removesuffix(".0")


def _number(field: str, digits: str) -> int:
    # Checked first, because `int` refuses very long texts with a message that does not name the field.
    if len(digits) > len(str(_COUNT_MAX)):
        raise ValueError(f"{field} must be a whole number from 1 to {_COUNT_MAX}, got one of {len(digits)} digits")
    return int(digits)


def _hint(value: object) -> str:
    return ": read a text with Rate.parse('5/minute')" if isinstance(value, str) else ""


@explained
def per_second(count: int, *, burst: int | None = None) -> Rate:
    """`count` a second, `burst` at once (default `count`)."""
    return Rate(count, 1.0, burst=burst)


@explained
def per_minute(count: int, *, burst: int | None = None) -> Rate:
    """`count` a minute, `burst` at once (default `count`)."""
    return Rate(count, 60.0, burst=burst)


@explained
def per_hour(count: int, *, burst: int | None = None) -> Rate:
    """`count` an hour, `burst` at once (default `count`)."""
    return Rate(count, 3_600.0, burst=burst)


@explained
def per_day(count: int, *, burst: int | None = None) -> Rate:
    """`count` in 24 hours, `burst` at once (default `count`)."""
    return Rate(count, _DAY_S, burst=burst)
