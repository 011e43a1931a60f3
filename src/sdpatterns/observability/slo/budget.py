"""What is left of an error budget, and whether it burns too fast: the judgement of the rules, made in this process.

```
meter = BudgetMeter(slo.budget)
meter.add(now_s, good=1)     meter.add(now_s, bad=1)
meter.budget(now_s)          Budget(events=..., errors=..., left=0.93, burn_rate=1.2)
meter.alert(now_s)           "page", "ticket" or None
```
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sdpatterns.core.forks import new_lock
from sdpatterns.observability.slo.windows import BurnWindows

__all__ = ["Budget", "BudgetMeter"]

_SLOTS = 60


class Budget(NamedTuple):
    """An error budget over its period."""

    allowed: float
    """The part of the events that may fail."""
    events: float
    errors: float
    burn_rate: float
    """How many times as fast as is sustainable it burns now, in the shortest window; 0.0 without events."""

    @property
    def spent(self) -> float:
        """The part of the budget that is used up: 1.0 is all of it, and more is a missed objective."""
        return self.errors / (self.events * self.allowed) if self.events else 0.0

    @property
    def left(self) -> float:
        """The part of the budget that is left, below 0 where the objective is missed."""
        return 1.0 - self.spent


class BudgetMeter:
    """Counts good and bad events over the period and over each window of the alerts.

    **Keeps**: memory does not grow with events or time: sixty slots for each window, so that a window is that exact.
    A window without events burns nothing. An instant before the last one counts as the last one. Many threads may use
    it at once. **May fail** with `ValueError` for a budget that is not between 0 and 1, or a negative count.
    **Costs** about a microsecond for each window and event.
    """

    def __init__(self, budget: float, windows: BurnWindows | None = None) -> None:
        if not 0 < budget < 1:
            raise ValueError(f"budget must be above 0 and below 1, got {budget!r}")
        self._allowed = budget
        self._windows = windows or BurnWindows()
        self._counts = {length_s: _Sliding(self._windows.real_s(length_s)) for length_s in self._windows.lengths_s()}
        self._now_s = -math.inf
        self._lock = new_lock()

    def add(self, now_s: float, *, good: int = 0, bad: int = 0) -> None:
        """Count events at an instant of a clock that does not go back."""
        if good < 0 or bad < 0:
            raise ValueError(f"good and bad must be at least 0, got {good!r} and {bad!r}")
        with self._lock:
            now_s = self._at(now_s)
            for count in self._counts.values():
                count.add(now_s, good + bad, bad)

    def budget(self, now_s: float) -> Budget:
        """The budget over the period that ends now."""
        with self._lock:
            now_s = self._at(now_s)
            shortest, *_, period = self._counts.values()
            events, errors = period.total(now_s)
            return Budget(self._allowed, events, errors, _ratio(*shortest.total(now_s)) / self._allowed)

    def burn_rate(self, now_s: float, window_s: float) -> float:
        """How many times as fast as is sustainable the budget burns in one of the windows, by its unshrunk length."""
        with self._lock:
            return _ratio(*self._counts[window_s].total(self._at(now_s))) / self._allowed

    def alert(self, now_s: float) -> str | None:
        """The worst alert that the rules would fire: `page`, `ticket`, or None."""
        with self._lock:
            now_s = self._at(now_s)
            ratios = {length_s: _ratio(*count.total(now_s)) for length_s, count in self._counts.items()}
        for severity in ("page", "ticket"):
            for pair, threshold in self._windows.thresholds(self._allowed, severity):
                if min(ratios[pair.short_s], ratios[pair.long_s]) > threshold:
                    return severity
        return None

    def _at(self, now_s: float) -> float:
        self._now_s = max(self._now_s, now_s)
        return self._now_s


class _Sliding:
    """Counts of the last `length_s`, in slots that are used again."""

    def __init__(self, length_s: float) -> None:
        self._slot_s = length_s / _SLOTS
        self._numbers = [-1] * _SLOTS
        self._events = [0] * _SLOTS
        self._errors = [0] * _SLOTS

    def add(self, now_s: float, events: int, errors: int) -> None:
        number = math.floor(now_s / self._slot_s)
        at = number % _SLOTS
        if self._numbers[at] != number:
            self._numbers[at], self._events[at], self._errors[at] = number, 0, 0
        self._events[at] += events
        self._errors[at] += errors

    def total(self, now_s: float) -> tuple[int, int]:
        oldest = math.floor(now_s / self._slot_s) - _SLOTS
        live = [at for at, number in enumerate(self._numbers) if number > oldest]
        return sum(self._events[at] for at in live), sum(self._errors[at] for at in live)


def _ratio(events: float, errors: float) -> float:
    return errors / events if events else 0.0
