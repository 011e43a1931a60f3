"""The error budgets of the control room: the objectives of Prometheus, on a clock that is fast enough to watch."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.monitoring.generate import slo_file
from sdpatterns.observability.slo import BurnWindows
from shop.stage.control.budgets import CLOCK, OBJECTIVES, PROVIDER, SLOW_US, Answered, Budgets

S = 1_000_000
NAMES = [objective.name for objective in OBJECTIVES]


def test_the_objectives_are_those_of_the_file_for_prometheus() -> None:
    written = {slo.name: slo.objective for slo in slo_file().slos}
    assert {objective.name: objective.percent for objective in OBJECTIVES} == written


def test_a_page_comes_at_the_burn_rates_of_a_month() -> None:
    month = BurnWindows()
    assert [CLOCK.burn_rate(pair) for pair in CLOCK.page] == [pytest.approx(month.burn_rate(p)) for p in month.page]
    assert CLOCK.real_s(CLOCK.period_s) == 3_600


def seen(budgets: Budgets, at_s: int) -> dict[str, dict[str, Any]]:
    return {budget["name"]: budget for budget in budgets.view(at_s * S)}


def answer(budgets: Budgets, at_s: int, kind: str = "api", status: int = 200, took_us: int = 1_000) -> None:
    budgets.take(Answered(kind, status, took_us), at_s * S)


def test_each_answer_spends_the_budgets_that_it_belongs_to() -> None:
    budgets = Budgets()
    assert {budget["left"] for budget in seen(budgets, 100).values()} == {1.0}, "nothing has been asked yet"
    for _ in range(999):
        answer(budgets, 100)
    answer(budgets, 100, status=503)
    answer(budgets, 100, took_us=SLOW_US + 1)
    answer(budgets, 100, "checkout", 503, took_us=SLOW_US + 1)
    answer(budgets, 100, "checkout", 402)
    found = seen(budgets, 100)
    assert {name: (found[name]["events"], found[name]["errors"]) for name in NAMES} == {
        "gateway-availability": (1003, 2),
        "gateway-latency": (1001, 1),
        "checkout-success": (2, 1),
        PROVIDER: (0, 0),
    }
    assert found["gateway-availability"]["left"] == pytest.approx(1 - 2 / 1.003, abs=1e-3)


def test_a_fault_moves_the_bar_and_pages_and_both_end() -> None:
    budgets = Budgets()
    for at_s in range(1_000, 1_600):
        answer(budgets, at_s, "checkout")
    for at_s in range(1_600, 1_660):
        answer(budgets, at_s, "checkout", 503)
    bad = seen(budgets, 1_660)["checkout-success"]
    assert (bad["alert"], bad["burn_rate"]) == ("page", 200.0)
    assert bad["left"] < 0
    for at_s in range(1_660, 1_720):
        answer(budgets, at_s, "checkout")
    healed = seen(budgets, 1_720)["checkout-success"]
    assert (healed["alert"] == "page", healed["burn_rate"]) == (False, 0.0)
    assert seen(budgets, 1_720 + 3_700)["checkout-success"]["left"] == 1.0, "after its period it is whole again"


def beat(asked: int, failed: int, refused: int) -> dict[str, Any]:
    totals = {"asked": asked, "failed": failed, "refused": refused}
    return {"calls": [{"to": "psp", "totals": totals}, {"to": "payments", "totals": totals}]}


def test_calls_that_the_breaker_refuses_spend_the_budget_of_the_provider() -> None:
    budgets = Budgets()
    budgets.take_calls({"one": beat(10, 2, 0), "two": None}, 100 * S)
    budgets.take_calls({"one": beat(10, 2, 5), "two": beat(1, 0, 0)}, 101 * S)
    found = seen(budgets, 101)[PROVIDER]
    assert (found["events"], found["errors"]) == (16, 7)
    budgets.take_calls({"one": beat(3, 1, 0)}, 102 * S)
    again = seen(budgets, 102)[PROVIDER]
    assert (again["events"], again["errors"]) == (19, 8), "a replica that began again has counted from zero"
