"""The error budgets of the shop on a fast clock, from the answers that clients saw and the calls that payments made.

`deploy/monitoring/slo.yml` has the same objectives for Prometheus, over thirty days; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sdpatterns.observability.slo import BudgetMeter, BurnWindow, BurnWindows
from shop.stage.control.views import Beats

_MINUTE_S, _HOUR_S = 60.0, 3_600.0
SLOW_US = 500_000
_DIGITS = 4

CLOCK = BurnWindows(
    period_s=60 * _HOUR_S,
    page=(
        BurnWindow(short_s=5 * _MINUTE_S, long_s=_HOUR_S, budget_part=0.24),
        BurnWindow(short_s=30 * _MINUTE_S, long_s=6 * _HOUR_S, budget_part=0.6),
    ),
    ticket=(BurnWindow(short_s=2 * _HOUR_S, long_s=24 * _HOUR_S, budget_part=0.8),),
    shrink=60,
)
"""An hour lasts a minute, and the period of the budget an hour; pages come at the burn rates of a period of 30 days."""


class Answered(NamedTuple):
    """What an objective judges of one answer."""

    kind: str
    status: int
    took_us: int


class Objective(NamedTuple):
    """Which percentage has to be good. `judge` says whether an answer is; None where it does not count."""

    name: str
    percent: float
    promise: str
    judge: Callable[[Answered], bool | None]


def _answered(answer: Answered) -> bool | None:
    return answer.status < 500


def _in_time(answer: Answered) -> bool | None:
    return None if answer.kind == "checkout" else answer.took_us <= SLOW_US


def _bought(answer: Answered) -> bool | None:
    return answer.status < 500 if answer.kind == "checkout" else None


def _none_of_them(_answer: Answered) -> bool | None:
    return None


PROVIDER = "payment-provider"
OBJECTIVES = (
    Objective("gateway-availability", 99.9, "Requests to the API are answered.", _answered),
    Objective("gateway-latency", 99.0, "Requests to the API, checkouts aside, take at most half a second.", _in_time),
    Objective("checkout-success", 99.5, "Customers can buy.", _bought),
    Objective(PROVIDER, 99.0, "The payment provider answers, and the breaker lets calls through.", _none_of_them),
)


class Budgets:
    """What is left of each budget, and how fast it burns.

    Keeps: memory does not grow. Gateways keep only their last answers, so those of a long time without a look may be
    missing.
    """

    def __init__(self) -> None:
        self._meters = {each.name: BudgetMeter(round(1 - each.percent / 100, 6), CLOCK) for each in OBJECTIVES}
        self._totals: dict[str, tuple[int, int]] = {}

    def take(self, answer: Answered, answered_us: int) -> None:
        """Count one answer of the API."""
        for objective in OBJECTIVES:
            is_good = objective.judge(answer)
            if is_good is not None:
                self._meters[objective.name].add(answered_us / 1e6, good=int(is_good), bad=int(not is_good))

    def take_calls(self, payments: Beats, now_us: int) -> None:
        """Count the calls to the payment provider since the last look; a call that the breaker refused is a bad one."""
        for address, pulse in payments.items():
            for call in pulse["calls"] if pulse else ():
                if call["to"] == "psp":
                    self._take_totals(address, call["totals"], now_us)

    def _take_totals(self, address: str, totals: Mapping[str, int], now_us: int) -> None:
        bad = totals["failed"] + totals["refused"]
        good = totals["asked"] - totals["failed"]
        good_before, bad_before = self._totals.get(address, (0, 0))
        if good < good_before or bad < bad_before:  # another process listens there now
            good_before = bad_before = 0
        self._totals[address] = good, bad
        self._meters[PROVIDER].add(now_us / 1e6, good=good - good_before, bad=bad - bad_before)

    def view(self, now_us: int) -> list[dict[str, Any]]:
        """Each budget at this moment; `left` is 1 while it is untouched and below 0 where more was spent."""
        return [self._seen(each, now_us / 1e6) for each in OBJECTIVES]

    def _seen(self, objective: Objective, now_s: float) -> dict[str, Any]:
        meter = self._meters[objective.name]
        budget = meter.budget(now_s)
        return {
            "name": objective.name,
            "percent": objective.percent,
            "promise": objective.promise,
            "events": budget.events,
            "errors": budget.errors,
            "left": round(budget.left, _DIGITS),
            "burn_rate": round(budget.burn_rate, 1),
            "alert": meter.alert(now_s),
        }
