"""Alerts for what patterns tell. What each of them judges is in `tests/monitoring`, on the rules of the shop."""

from __future__ import annotations

import re

import pytest

from sdpatterns.coordination import lease  # noqa: F401 - brings its notices in, as the next ones do
from sdpatterns.core.notices import Notice
from sdpatterns.messaging import consumer, jobs, projection, saga  # noqa: F401
from sdpatterns.observability.alerts import AlertThresholds, pattern_alerts
from sdpatterns.observability.rules import AlertRule
from sdpatterns.resilience import breaker, bulkhead  # noqa: F401
from sdpatterns.traffic import ratelimit  # noqa: F401


def alerts(thresholds: AlertThresholds | None = None, runbooks: str | None = None) -> list[AlertRule]:
    group = pattern_alerts(thresholds, runbooks=runbooks)
    return [rule for rule in group.rules if isinstance(rule, AlertRule)]


def events(kind: type[Notice]) -> set[str]:
    """The events of all notices."""
    below = set().union(*map(events, kind.__subclasses__()))
    return below | {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()}


def test_each_counter_is_of_a_notice_that_exists() -> None:
    counters = {name for rule in alerts() for name in re.findall(r"sdpatterns_(\w+)_total", rule.expr)}
    assert len(counters) == 9
    assert counters <= events(Notice)


def test_each_is_a_ticket_with_a_page() -> None:
    for rule in alerts(runbooks="https://shop.example/runbooks/"):
        assert rule.labels == {"severity": "ticket"}
        assert rule.annotations["runbook_url"].startswith("https://shop.example/runbooks/")
    assert "runbook_url" not in alerts()[0].annotations


def test_a_fast_clock_makes_all_times_shorter() -> None:
    fast = {rule.alert: rule for rule in alerts(AlertThresholds(shrink=60))}
    assert "[10s]" in fast["CircuitOpened"].expr
    assert fast["TargetDown"].for_s == 5


def test_thresholds_check_themselves() -> None:
    for fields, told in (
        ({"recent_s": 0}, "recent_s must be above 0, got 0"),
        ({"refusals_per_s": -1}, "refusals_per_s must be above 0, got -1"),
        ({"shrink": 0.5}, "shrink must be at least 1, got 0.5"),
    ):
        with pytest.raises(ValueError, match=told):
            AlertThresholds(**fields)
