"""Over which windows a burn rate is judged, and how much of the budget may burn in each.

| severity | short | long | part of the budget | burn rate for 30 days |
|---|---|---|--:|--:|
| page | 5m | 1h | 2 % | 14.4 |
| page | 30m | 6h | 5 % | 6 |
| ticket | 2h | 1d | 10 % | 3 |
| ticket | 6h | 3d | 10 % | 1 |

After "The Site Reliability Workbook", chapter 5, alert 6. The long window says that enough of the budget is
gone; the short one says that it still burns, so that the alert ends soon after the fault.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

__all__ = ["BurnWindow", "BurnWindows"]

_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3_600.0, 86_400.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BurnWindow:
    """A pair of windows: alert when `budget_part` of the budget burns within `long_s`, and still burns in `short_s`."""

    short_s: float
    long_s: float
    budget_part: float

    def __post_init__(self) -> None:
        if not 0 < self.short_s < self.long_s:
            raise ValueError(f"short_s must be above 0 and below long_s, got {self.short_s!r} and {self.long_s!r}")
        if not 0 < self.budget_part <= 1:
            raise ValueError(f"budget_part must be above 0 and at most 1, got {self.budget_part!r}")


_PAGE = (
    BurnWindow(short_s=5 * _MINUTE_S, long_s=_HOUR_S, budget_part=0.02),
    BurnWindow(short_s=30 * _MINUTE_S, long_s=6 * _HOUR_S, budget_part=0.05),
)
_TICKET = (
    BurnWindow(short_s=2 * _HOUR_S, long_s=_DAY_S, budget_part=0.1),
    BurnWindow(short_s=6 * _HOUR_S, long_s=3 * _DAY_S, budget_part=0.1),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BurnWindows:
    """The period of the budget and the windows of both alerts; `shrink` makes all of them that much shorter.

    With `shrink=60` an hour lasts a minute: for tests and demonstrations, where a page has to come within seconds.
    Names keep the length that a window has without it, so that the same alerts and dashboards fit both clocks.
    """

    period_s: float = 30 * _DAY_S
    page: tuple[BurnWindow, ...] = _PAGE
    ticket: tuple[BurnWindow, ...] = _TICKET
    shrink: float = 1.0

    def __post_init__(self) -> None:
        if not self.shrink >= 1:
            raise ValueError(f"shrink must be at least 1, got {self.shrink!r}")
        if not self.page or not self.ticket:
            raise ValueError("page and ticket need at least one pair of windows each")
        longest_s = max(pair.long_s for pair in (*self.page, *self.ticket))
        if not self.period_s > longest_s:
            raise ValueError(f"period_s must be longer than the longest window, {longest_s:g} s, got {self.period_s!r}")

    def burn_rate(self, pair: BurnWindow) -> float:
        """How many times as fast as is sustainable the budget burns, where this part of it goes in the long window."""
        return pair.budget_part * self.period_s / pair.long_s

    def lengths_s(self) -> list[float]:
        """Each length once, before it is shrunk, the shortest first; the period is the last one."""
        pairs = (*self.page, *self.ticket)
        return sorted({self.period_s, *(length_s for pair in pairs for length_s in (pair.short_s, pair.long_s))})

    def real_s(self, length_s: float) -> float:
        """How long that window lasts on the clock of this machine."""
        return length_s / self.shrink

    def thresholds(self, budget: float, severity: str) -> Iterator[tuple[BurnWindow, float]]:
        """Each pair of one severity with the part of events that must fail. Left out is what more than all would be."""
        for pair in self.page if severity == "page" else self.ticket:
            threshold = self.burn_rate(pair) * budget
            if threshold < 1:
                yield pair, threshold
