"""The budget in this process, against sums over all events."""

from __future__ import annotations

import random

import pytest

from sdpatterns.observability.slo import BudgetMeter, BurnWindows
from tests.threads import in_threads

FAST = BurnWindows(shrink=60)
HOUR_S = 3_600.0


class Naive:
    """Keeps every event. A window of `length_s` is exact to the slot, a sixtieth of it."""

    def __init__(self, windows: BurnWindows, budget: float) -> None:
        self.windows, self.budget = windows, budget
        self.events: list[tuple[float, int, int]] = []

    def ratio(self, now_s: float, length_s: float) -> float:
        real_s = self.windows.real_s(length_s)
        slot = real_s / 60
        inside = [each for each in self.events if int(each[0] / slot) > int(now_s / slot) - 60]
        total = sum(good + bad for _, good, bad in inside)
        return sum(bad for _, _, bad in inside) / total if total else 0.0

    def alert(self, now_s: float) -> str | None:
        for severity, pairs in (("page", self.windows.page), ("ticket", self.windows.ticket)):
            for pair in pairs:
                most = self.windows.burn_rate(pair) * self.budget
                if self.ratio(now_s, pair.short_s) > most and self.ratio(now_s, pair.long_s) > most:
                    return severity
        return None


@pytest.mark.parametrize("seed", range(2))
def test_it_says_what_sums_over_all_events_say(seed: int) -> None:
    rng, budget = random.Random(seed), 0.01
    meter, naive, now_s = BudgetMeter(budget, FAST), Naive(FAST, budget), 0.0
    seen = set()
    for step in range(240):
        now_s += rng.choice((0.1, 1.0, 7.0, 40.0))
        failing = 0.3 if step // 40 % 2 else 0.001
        bad = sum(rng.random() < failing for _ in range(50))
        meter.add(now_s, good=50 - bad, bad=bad)
        naive.events.append((now_s, 50 - bad, bad))
        assert meter.alert(now_s) == naive.alert(now_s)
        seen.add(meter.alert(now_s))
        for length_s in FAST.lengths_s():
            assert meter.burn_rate(now_s, length_s) == pytest.approx(naive.ratio(now_s, length_s) / budget)
    assert {"page", None} < seen


def test_a_budget_is_spent_by_errors_and_comes_back_with_the_period() -> None:
    meter = BudgetMeter(0.01, FAST)
    meter.add(0.0, good=9_950, bad=50)
    budget = meter.budget(0.0)
    assert (budget.events, budget.errors, budget.spent, budget.left) == (10_000, 50, 0.5, 0.5)
    assert budget.burn_rate == pytest.approx(0.5)
    meter.add(1.0, bad=100)
    assert meter.budget(1.0).left < 0
    later = meter.budget(1.0 + FAST.real_s(FAST.period_s))
    assert (later.left, later.burn_rate) == (1.0, 0.0)


def test_nothing_burns_without_events() -> None:
    meter = BudgetMeter(0.001)
    assert meter.alert(5.0) is None
    assert meter.budget(5.0).left == 1.0


def test_a_clock_that_goes_back_counts_as_the_last_instant() -> None:
    meter = BudgetMeter(0.01, FAST)
    meter.add(100.0, good=1)
    meter.add(1.0, bad=1)
    assert meter.budget(0.0).events == 2


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="budget must be above 0 and below 1, got 1"):
        BudgetMeter(1)
    with pytest.raises(ValueError, match="good and bad must be at least 0, got -1 and 0"):
        BudgetMeter(0.1).add(0.0, good=-1)


def test_many_threads_lose_no_event() -> None:
    meter = BudgetMeter(0.01, FAST)
    in_threads(lambda: [meter.add(1.0, good=1, bad=1) for _ in range(200)])
    assert meter.budget(1.0).events == 8 * 400
