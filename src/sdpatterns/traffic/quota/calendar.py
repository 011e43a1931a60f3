"""Which day, week, month or year of a time zone an instant lies in, and when that begins and ends.

A period reaches from its first local midnight to the first local midnight of the next one. Where
clocks are moved it is an hour shorter or longer; where they are moved at midnight itself it begins
with the time that the clocks show then; where a zone left out a whole day, that day has no length.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sdpatterns.core.ranges import whole
from sdpatterns.traffic.quota.config import PERIODS, Allowance, Period
from sdpatterns.traffic.quota.decision import ANY, PeriodLimit, Use

__all__ = ["Calendar", "CurrentPeriods", "PeriodSpan"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY = dt.timedelta(days=1)


class PeriodSpan(NamedTuple):
    """A period in microseconds since 1970; the end belongs to the next one."""

    start_us: int
    end_us: int


class Calendar:
    """The calendar of one time zone. Its months begin on the day `month_begins`.

    Keeps: the spans of a period follow each other without a gap or an overlap.
    """

    __slots__ = ("_month_begins", "_zone")

    def __init__(self, zone: str, month_begins: int) -> None:
        whole("month_begins", month_begins, 1, 31, of="a day of the month")
        self._month_begins = month_begins
        self._zone = _zone_of(zone)

    def span(self, period: Period, now_us: int) -> PeriodSpan:
        """The period that `now_us` lies in."""
        today = (_EPOCH + dt.timedelta(microseconds=now_us)).astimezone(self._zone).date()
        first = self._first(period, today)
        after = self._next(period, first)
        # Clocks that are put back past midnight show the day before once more, but that day is already over.
        while self._begin_us(after) <= now_us:
            first, after = after, self._next(period, after)
        return PeriodSpan(self._begin_us(first), self._begin_us(after))

    def _begin_us(self, day: dt.date) -> int:
        # If a day has two midnights this is the first; if it has none, the moment of the leap (PEP 495).
        return int(dt.datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp()) * 1_000_000

    def _first(self, period: Period, day: dt.date) -> dt.date:
        if period == "day":
            return day
        if period == "week":
            return day - day.weekday() * _DAY
        if period == "year":
            return day.replace(month=1, day=1)
        begin = self._month(day.year, day.month)
        return begin if begin <= day else self._month(day.year, day.month - 1)

    def _next(self, period: Period, first: dt.date) -> dt.date:
        if period == "day":
            return first + _DAY
        if period == "week":
            return first + 7 * _DAY
        if period == "year":
            return first.replace(year=first.year + 1)
        return self._month(first.year, first.month + 1)

    def _month(self, year: int, month: int) -> dt.date:
        """Its first day: the last one of a month that is too short to have such a day."""
        year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
        return dt.date(year, month, min(self._month_begins, calendar.monthrange(year, month)[1]))


class CurrentPeriods:
    """The periods at one instant, as the common step of each plan.

    Every step counts in every period that any of the plans names, because a key that changes its plan
    keeps what it has used.
    """

    __slots__ = ("steps",)

    def __init__(self, plans: Mapping[str, Sequence[Allowance]], calendar: Calendar, now_us: int) -> None:
        named = {allowance.period for allowances in plans.values() for allowance in allowances}
        spans = [(kind, calendar.span(period, now_us)) for kind, period in enumerate(PERIODS) if period in named]
        self.steps: dict[str, Use] = {}
        for plan, allowances in plans.items():
            most = {PERIODS.index(allowance.period): allowance.count for allowance in allowances}
            self.steps[plan] = Use([PeriodLimit(kind, *span, most.get(kind, ANY)) for kind, span in spans], 1)


def _zone_of(zone: str) -> dt.tzinfo:
    if zone == "UTC":
        return dt.UTC
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as cause:
        raise ValueError(
            f"zone must name a time zone such as 'Europe/Berlin', got {zone!r};"
            ' on a system without zones: pip install "tzdata"'
        ) from cause
