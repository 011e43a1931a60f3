"""What a setting may be, said once for all rooms: each check names the field, the range and the value."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["number", "one_of", "ratio", "seconds", "whole"]


def whole(field: str, value: object, low: int, high: int | None = None, *, of: str = "", hint: str = "") -> int:
    """A whole number from `low` to `high`. `of` says what the upper bound is, `hint` how to mend the value."""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value and (high is None or value <= high):
        return value
    within = f"of {low} or more" if high is None else f"from {low} to {high}"
    raise ValueError(f"{field} must be a whole number {within}{of and f', {of}'}, got {value!r}{hint}")


def seconds(field: str, value: object, *, zero: bool = False) -> float:
    """A finite time above 0 (or from 0, where `zero` says so)."""
    if not _is_number(value) or not math.isfinite(value) or value < 0 or (value == 0 and not zero):  # type: ignore[arg-type, operator]
        least = "0 or more" if zero else "above 0"
        raise ValueError(f"{field} must be a finite number of seconds, {least}, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def number(field: str, value: object, low: float, high: float) -> float:
    """A number from `low` to `high`."""
    if not _is_number(value) or not low <= value <= high:  # type: ignore[operator]
        raise ValueError(f"{field} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def ratio(field: str, value: object) -> float:
    """A share above 0 and up to 1."""
    if not _is_number(value) or not 0 < value <= 1:  # type: ignore[operator]
        raise ValueError(f"{field} must be above 0 and at most 1, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def one_of(field: str, value: object, choices: Sequence[str]) -> None:
    """One of a few words."""
    if value not in choices:
        raise ValueError(f"{field} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
