"""A quota as one would explain it: every request that passed is kept, and added up again each time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

from sdpatterns.traffic.quota import Allowance


def period_at(zone: str, period: str, at_us: int) -> object:
    """What a calendar on the wall shows: the day, the week, the month or the year."""
    seen = dt.datetime.fromtimestamp(at_us / 1e6, ZoneInfo(zone))
    if period == "week":
        return seen.isocalendar()[:2]
    return {"day": seen.date(), "month": (seen.year, seen.month), "year": seen.year}[period]


class Ledger:
    """One key. `plans` are the allowances of each plan."""

    def __init__(self, zone: str, plans: Mapping[str, Sequence[Allowance]]) -> None:
        self.zone = zone
        self.plans = plans
        self.passed: list[tuple[int, int]] = []

    def used(self, period: str, now_us: int) -> int:
        today = period_at(self.zone, period, now_us)
        return sum(cost for at_us, cost in self.passed if period_at(self.zone, period, at_us) == today)

    def acquire(self, plan: str, cost: int, now_us: int) -> bool:
        fits = all(self.used(each.period, now_us) + cost <= each.count for each in self.plans[plan])
        if fits:
            self.passed.append((now_us, cost))
        return fits

    def remaining(self, plan: str, now_us: int) -> int:
        return min(max(0, each.count - self.used(each.period, now_us)) for each in self.plans[plan])
