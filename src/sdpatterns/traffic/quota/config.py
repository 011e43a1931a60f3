"""Allowances: how many in which period of the calendar, and the plans that are made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from sdpatterns.core.ranges import one_of, whole
from sdpatterns.core.spelling import explained

__all__ = ["PERIODS", "Allowance", "Period", "Plans", "daily", "monthly", "plans_of", "weekly", "yearly"]

Period: TypeAlias = Literal["day", "week", "month", "year"]
"""A stretch of the calendar. A week begins on Monday."""

PERIODS: tuple[Period, ...] = ("day", "week", "month", "year")
"""All of them; the place of one here is its number in stored states, so none ever moves."""

_COUNT_MAX = 10**12


@explained
@dataclasses.dataclass(frozen=True)
class Allowance:
    """`count` in each `period` of the calendar."""

    count: int
    period: Period

    def __post_init__(self) -> None:
        """Check the fields. Raises `ValueError` naming the one that is out of range."""
        whole("count", self.count, 1, _COUNT_MAX)
        one_of("period", self.period, PERIODS)


Plans: TypeAlias = Allowance | Sequence[Allowance] | Mapping[str, Allowance | Sequence[Allowance]]
"""One allowance; several that all must hold; or such by the name of a plan."""


@explained
def daily(count: int) -> Allowance:
    """`count` a day."""
    return Allowance(count, "day")


@explained
def weekly(count: int) -> Allowance:
    """`count` a week, which begins on Monday."""
    return Allowance(count, "week")


@explained
def monthly(count: int) -> Allowance:
    """`count` a month."""
    return Allowance(count, "month")


@explained
def yearly(count: int) -> Allowance:
    """`count` a year."""
    return Allowance(count, "year")


def plans_of(plans: Plans) -> dict[str, tuple[Allowance, ...]]:
    """The allowances of each plan; one that has no name is called "". Raises `ValueError` for none."""
    if not isinstance(plans, Mapping):
        return {"": _several("", plans)}
    if not plans or not all(plans):
        raise ValueError(f"plans must have one plan or more, each with a name, got {dict(plans)!r}")
    return {name: _several(name, allowances) for name, allowances in plans.items()}


def _several(name: str, allowances: Allowance | Sequence[Allowance]) -> tuple[Allowance, ...]:
    given: object = allowances
    if isinstance(given, str) or not isinstance(given, Allowance | Sequence):
        made = type(given).__name__
        raise TypeError(f"plans must be made by daily(n), weekly(n), monthly(n) or yearly(n), got {made}")
    several = (allowances,) if isinstance(allowances, Allowance) else tuple(allowances)
    if not several or not all(isinstance(allowance, Allowance) for allowance in several):
        raise ValueError(f"plans must hold an Allowance or several, got {allowances!r} for plan {name!r}")
    if len({allowance.period for allowance in several}) < len(several):
        raise ValueError(f"plans must not name a period twice, got {allowances!r} for plan {name!r}")
    return several
