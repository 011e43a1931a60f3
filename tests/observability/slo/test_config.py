"""What an SLO file may say, and how each mistake in one is told."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from sdpatterns.observability.slo import BurnWindow, BurnWindows, SLOFile

DOCUMENT: dict[str, Any] = {
    "version": "prometheus/v1",
    "service": "shop",
    "labels": {"owner": "orders"},
    "slos": [
        {
            "name": "checkout-success",
            "objective": 99.5,
            "description": "Customers can buy.",
            "labels": {"tier": "1"},
            "sli": {
                "events": {
                    "error_query": 'sum(rate(asked{status="500"}[{{.window}}]))',
                    "total_query": "sum(rate(asked[{{ .window }}]))",
                }
            },
            "alerting": {
                "name": "CheckoutBudgetBurn",
                "labels": {"category": "availability"},
                "annotations": {"summary": "s"},
                "page_alert": {"labels": {"severity": "critical"}},
                "ticket_alert": {"disable": True},
            },
        }
    ],
}


def document(change: Callable[[dict[str, Any], dict[str, Any]], object] = lambda _file, _slo: None) -> dict[str, Any]:
    changed = copy.deepcopy(DOCUMENT)
    change(changed, changed["slos"][0])
    return changed


def test_a_file_of_sloths_shape_is_read() -> None:
    file = SLOFile.parsed(document())
    (slo,) = file.slos
    assert (file.service, dict(file.labels)) == ("shop", {"owner": "orders"})
    assert (slo.name, slo.objective, slo.budget, dict(slo.labels)) == ("checkout-success", 99.5, 0.005, {"tier": "1"})
    assert slo.sli.within("5m") == ('sum(rate(asked{status="500"}[5m]))', "sum(rate(asked[5m]))")
    assert slo.alerting.labels_of("page") == {"severity": "critical", "category": "availability"}
    assert slo.alerting.labels_of("ticket") is None
    assert slo.alerting.annotations_of("page") == {"summary": "s"}


MISTAKES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "version must be prometheus/v1, got 'v2'": lambda file, _slo: file.update(version="v2"),
    "service is missing": lambda file, _slo: file.pop("service"),
    "service must be a string, got int 7": lambda file, _slo: file.update(service=7),
    "service must be lower case letters, digits, dots, dashes and underscores, got 'My shop'": (
        lambda file, _slo: file.update(service="My shop")
    ),
    "labels must not contain slo, which every series": lambda file, _slo: file.update(labels={"slo": "x"}),
    "labels must map strings to strings, got {'owner': 1}": lambda file, _slo: file.update(labels={"owner": 1}),
    "slos must be a list, got nothing": lambda file, _slo: file.update(slos=None),
    "slos must have at least one SLO": lambda file, _slo: file.update(slos=[]),
    "slos must not share a name: checkout-success": lambda file, slo: file.update(slos=[slo, slo]),
    "slos must not share a alert": lambda file, slo: file.update(slos=[slo, {**slo, "name": "other"}]),
    "slos[0] must be a mapping, got str 'x'": lambda file, _slo: file.update(slos=["x"]),
    "objectives is unknown here; known are": lambda file, _slo: file.update(objectives=1),
    "slos[0].objective is missing": lambda _file, slo: slo.pop("objective"),
    "slos[0].objective must be a number, got str '99'": lambda _file, slo: slo.update(objective="99"),
    "slos[0].objective must be a number, got bool True": lambda _file, slo: slo.update(objective=True),
    "slos[0]: objective must be a percentage above 0 and below 100, got 100.0": (
        lambda _file, slo: slo.update(objective=100)
    ),
    "slos[0].sli.raw is not supported": lambda _file, slo: slo.update(sli={"raw": {"error_ratio_query": "x"}}),
    "slos[0].sli.events: error_query must contain {{.window}}, got 'up'": (
        lambda _file, slo: slo["sli"]["events"].update(error_query="up")
    ),
    "slos[0].alerting.pagealert is unknown here": lambda _file, slo: slo["alerting"].update(pagealert={}),
    "slos[0].alerting: name must be letters, digits": lambda _file, slo: slo["alerting"].update(name="too slow"),
    "slos[0].alerting.page_alert.disable must be true or false, got str 'no'": (
        lambda _file, slo: slo["alerting"].update(page_alert={"disable": "no"})
    ),
}


@pytest.mark.parametrize("told", MISTAKES)
def test_a_mistake_is_told_with_its_place(told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        SLOFile.parsed(document(MISTAKES[told]))


def test_what_is_no_mapping_is_told() -> None:
    with pytest.raises(ValueError, match=r"^the file must be a mapping, got list"):
        SLOFile.parsed([])


def test_the_burn_rates_are_those_of_the_workbook() -> None:
    windows = BurnWindows()
    rates = [round(windows.burn_rate(pair), 9) for pair in (*windows.page, *windows.ticket)]
    assert rates == [14.4, 6, 3, 1]
    assert [length_s / 60 for length_s in windows.lengths_s()] == [5, 30, 60, 120, 360, 1440, 4320, 43200]
    assert BurnWindows(shrink=60).real_s(3_600) == 60


def test_windows_check_themselves() -> None:
    pair = BurnWindow(short_s=1, long_s=2, budget_part=0.1)
    with pytest.raises(ValueError, match="short_s must be above 0 and below long_s, got 2 and 2"):
        BurnWindow(short_s=2, long_s=2, budget_part=0.1)
    with pytest.raises(ValueError, match="budget_part must be above 0 and at most 1, got 0"):
        BurnWindow(short_s=1, long_s=2, budget_part=0)
    for fields, told in (
        ({"shrink": 0.5}, "shrink must be at least 1, got 0.5"),
        ({"page": ()}, "page and ticket need at least one pair of windows each"),
        ({"page": (pair,), "ticket": (pair,), "period_s": 2}, "period_s must be longer than the longest window, 2 s"),
    ):
        with pytest.raises(ValueError, match=told):
            BurnWindows(**fields)  # type: ignore[arg-type]  # each case gives other fields
