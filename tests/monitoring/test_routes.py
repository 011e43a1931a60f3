"""Who is told of which alert, as Alertmanager's own tool says."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from deploy.monitoring.generate import HERE
from tests.programs import needed
from tests.promtool import run

ROUTES = HERE / "alertmanager.yml"
RECEIVERS = {"page": "on-call-weekdays,on-call-weekend", "ticket": "tickets"}


@pytest.fixture
def amtool() -> str:
    return needed("amtool", "prometheus-alertmanager")


def test_amtool_finds_nothing_to_complain_of(amtool: str) -> None:
    assert "SUCCESS" in run(amtool, "check-config", str(ROUTES))


def test_each_alert_reaches_the_people_of_its_severity(amtool: str, committed: dict[str, Any]) -> None:
    alerts = {
        (rule["alert"], rule["labels"]["severity"], rule["labels"].get("slo", ""))
        for group in committed["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    for severity, receivers in RECEIVERS.items():
        told = [(alert, slo) for alert, found, slo in sorted(alerts) if found == severity]
        assert told
        for alert, slo in told:
            words = (f"--config.file={ROUTES}", f"--verify.receivers={receivers}")
            run(amtool, "config", "routes", "test", *words, f"alertname={alert}", f"severity={severity}", f"slo={slo}")


def test_each_day_has_its_people_on_call() -> None:
    config = yaml.safe_load(ROUTES.read_text(encoding="utf-8"))
    intervals = {each["name"]: each["time_intervals"][0] for each in config["time_intervals"]}
    paging = [route for route in config["route"]["routes"] if route["matchers"] == ['severity = "page"']]
    days = [day for route in paging for name in route["active_time_intervals"] for day in intervals[name]["weekdays"]]
    assert days == ["monday:friday", "saturday", "sunday"]
    assert not any("times" in intervals[name] for route in paging for name in route["active_time_intervals"])
    assert paging[0]["continue"]  # or the people of the weekend would never be told
