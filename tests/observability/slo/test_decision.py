"""The rules of an SLO file, evaluated by Prometheus' own tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpatterns.observability.rules import AlertRule, RecordingRule, RuleGroup, duration, kebab, rule_file, selector
from sdpatterns.observability.slo import SLOFile, slo_rules
from sdpatterns.observability.slo.yaml import read_slo_file, written_rules
from tests.promtool import Case, assert_judged, firing

FILE = """
version: prometheus/v1
service: shop
slos:
  - name: checkout
    objective: 99.5
    sli:
      events:
        error_query: sum(rate(asked{status="500"}[{{.window}}]))
        total_query: sum(rate(asked[{{.window}}]))
    alerting:
      name: CheckoutBurn
"""
GOOD, BAD = 'asked{status="200"}', 'asked{status="500"}'
PAGE, TICKET = firing("CheckoutBurn", severity="page"), firing("CheckoutBurn", severity="ticket")
NO_DATA = firing("CheckoutBurnNoData", severity="ticket")
OWN = '{service="shop", slo="checkout"}'


def series(ratio: str) -> str:
    """A query of the plain number."""
    return f"sum(slo:sli_error:ratio_rate{ratio}{OWN})"


def absent(ratio: str) -> str:
    return f"sum(absent(slo:sli_error:ratio_rate{ratio}{OWN}))"


CASES = [
    Case(
        "a fifth of the events fail: page and ticket fire, and NoData is silent",
        {GOOD: "0+48x90", BAD: "0+12x90"},
        [(PAGE, "10m", 1), (TICKET, "10m", 1), (NO_DATA, "30m", 0), (series("5m"), "10m", 0.2)],
    ),
    Case(
        "one in a thousand fails: silent, and the budget is hardly touched",
        {GOOD: "0+999x90", BAD: "0+1x90"},
        [
            (PAGE, "90m", 0),
            (TICKET, "90m", 0),
            (f"sum(slo:period_error_budget_remaining:ratio{OWN})", "90m", 0.8),
            (f"sum(slo:current_burn_rate:ratio{OWN})", "90m", 0.2),
        ],
    ),
    Case(
        "errors end: the page resolves, when the half hour behind it is good again",
        {GOOD: "0+48x180", BAD: "0+12x30 360x150"},
        [(PAGE, "30m", 1), (PAGE, "40m", 1), (PAGE, "66m", 0)],
    ),
    Case(
        "the series vanish: the page resolves, and NoData fires after ten minutes",
        {GOOD: "0+48x30", BAD: "0+12x30"},
        [(PAGE, "30m", 1), (NO_DATA, "40m", 0), (PAGE, "75m", 0), (NO_DATA, "75m", 1)],
    ),
    Case("there was never a series", {}, [(PAGE, "30m", 0), (NO_DATA, "5m", 0), (NO_DATA, "30m", 1)]),
    Case(
        "no traffic: no ratio, no division by zero, no alert",
        {GOOD: "100x90", BAD: "7x90"},
        [(PAGE, "60m", 0), (TICKET, "60m", 0), (NO_DATA, "60m", 0), (absent("5m"), "60m", 1), (absent("1d"), "60m", 1)],
    ),
    Case(
        "no error was ever counted: the ratio is 0, not unknown",
        {GOOD: "0+48x90"},
        [(series("5m"), "60m", 0), (series("30d"), "60m", 0), (NO_DATA, "60m", 0)],
    ),
]
SLOW = [
    Case(
        "a slow burn: the ticket alone fires",
        {GOOD: "0+988x600", BAD: "0+12x600"},
        [(PAGE, "10h", 0), (TICKET, "10h", 1)],
    ),
    Case(
        "a day's ratio weighs hours by their traffic: 10 % of a busy hour and none of five quiet ones",
        {GOOD: "0+900x60 54000+100x300", BAD: "0+100x60 6000x300"},
        [(f"round({series('1d')}, 0.01)", "6h", 0.07)],
    ),
]
"""Hours, evaluated every ten minutes: each evaluation costs."""


def test_prometheus_judges_the_rules_as_meant(promtool: str, tmp_path: Path) -> None:
    rules = written_rules(slo_rules(read_slo_file(FILE)))
    assert_judged(promtool, tmp_path, rules, CASES)
    assert_judged(promtool, tmp_path, rules, SLOW, evaluated="10m")


def test_an_alert_says_whose_it_is_and_where_its_runbook_is() -> None:
    alerts = _alerts(FILE, runbooks="https://shop.example/runbooks/")
    page, ticket, no_data = alerts
    assert page.labels == {"service": "shop", "slo": "checkout", "severity": "page"}
    assert ticket.labels == {**page.labels, "severity": "ticket"}
    assert page.annotations["runbook_url"] == "https://shop.example/runbooks/checkout-burn/"
    assert no_data.annotations["runbook_url"] == "https://shop.example/runbooks/checkout-burn-no-data/"


def test_a_page_of_the_files_own_stays() -> None:
    own = FILE + '      annotations: {runbook_url: "https://shop.example/own"}\n'
    assert {alert.annotations["runbook_url"] for alert in _alerts(own, runbooks="https://x.example")} == {
        "https://shop.example/own"
    }


def test_a_disabled_severity_has_no_alert() -> None:
    (page, no_data) = _alerts(FILE + "      ticket_alert: {disable: true}\n")
    assert (page.labels["severity"], no_data.labels["severity"]) == ("page", "ticket")


def test_an_objective_so_low_that_no_alert_could_fire_is_refused() -> None:
    with pytest.raises(ValueError, match="checkout: an objective of 50 is too low for a page"):
        _alerts(FILE.replace("99.5", "50"))
    (page, *_) = _alerts(FILE.replace("99.5", "90"))
    assert "0.6" in page.expr  # six times as fast; 14.4 times would be more than all events
    assert "ratio_rate1h" not in page.expr


def _alerts(text: str, runbooks: str | None = None) -> list[AlertRule]:
    groups = slo_rules(read_slo_file(text), runbooks=runbooks)
    return [rule for group in groups for rule in group.rules if isinstance(rule, AlertRule)]


def test_text_that_is_no_yaml_is_told() -> None:
    with pytest.raises(ValueError, match=r"(?s)^this is no YAML: .*line 1"):
        read_slo_file("slos: [")


def test_a_document_of_another_parser_will_do() -> None:
    with pytest.raises(ValueError, match="slos is missing"):
        SLOFile.parsed({"version": "prometheus/v1", "service": "shop"})


def test_durations_are_written_as_promql_has_them() -> None:
    lengths_s = {0.5: "500ms", 5: "5s", 90: "90s", 300: "5m", 7_200: "2h", 2_592_000: "30d"}
    assert {length_s: duration(length_s) for length_s in lengths_s} == lengths_s
    with pytest.raises(ValueError, match=r"at least a millisecond, got 0\.0001 s"):
        duration(0.0001)


def test_names_and_labels_are_written_as_their_readers_want_them() -> None:
    assert kebab("CheckoutHTTPBurnNoData") == "checkout-http-burn-no-data"
    assert selector("up", {}) == "up"
    assert selector("up", {"job": 'a"\\\n'}) == r'up{job="a\"\\\n"}'


def test_wrong_rules_are_refused() -> None:
    rule = RecordingRule(record="a:b", expr="up")
    for build, told in (
        (lambda: RecordingRule(record="a-b", expr="up"), "record must be the name of a metric, got 'a-b'"),
        (lambda: RecordingRule(record="ab", expr=" "), "expr must be a query"),
        (lambda: AlertRule(alert="a b", expr="up"), "alert must be letters"),
        (lambda: AlertRule(alert="ab", expr="up", for_s=-1), "for_s must be at least 0, got -1"),
        (lambda: AlertRule(alert="ab", expr="up", labels={"a-b": "x"}), "labels must be named by letters"),
        (lambda: RuleGroup("a", ()), "a group needs a name and at least one rule, got 'a' with 0"),
        (lambda: rule_file([RuleGroup("a", (rule,))] * 2), "these occur twice: a"),
    ):
        with pytest.raises(ValueError, match=told):
            build()
