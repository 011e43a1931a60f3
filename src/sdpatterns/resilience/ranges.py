"""What a setting may be, said once for the room: each check names the field and its range."""

from __future__ import annotations

import math

__all__ = ["number", "ratio", "seconds", "whole"]


def whole(field: str, value: object, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field} must be a whole number from {low} to {high}, got {value!r}")
    return value


def seconds(field: str, value: object, *, zero: bool = False) -> float:
    """A finite time above 0 (or from 0, where `zero` says so)."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (value == 0 and not zero):  # type: ignore[arg-type, operator]
        least = "0 or more" if zero else "above 0"
        raise ValueError(f"{field} must be a finite number of seconds, {least}, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def number(field: str, value: object, low: float, high: float) -> float:
    """A number from `low` to `high`."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def ratio(field: str, value: object) -> float:
    """A share above 0 and up to 1."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= 1:  # type: ignore[operator]
        raise ValueError(f"{field} must be above 0 and at most 1, got {value!r}")
    return float(value)  # type: ignore[arg-type]
