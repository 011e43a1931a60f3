"""The shop's rules: generated, accepted by promtool, and each alert judged in its four situations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.generate import HERE, RULES, TARGET, rules, slo_file
from tests.monitoring.alert_cases import OBJECTIVES, PATTERNS, SITUATIONS, objective
from tests.promtool import Case, assert_judged, run


def alerts(committed: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in committed["groups"] for rule in group["rules"] if "alert" in rule]


def only(committed: dict[str, Any], wanted: Callable[[str], bool]) -> str:
    """The text of a rule file with some of the groups, because each evaluation of each rule takes its time."""
    return yaml.safe_dump({"groups": [group for group in committed["groups"] if wanted(group["name"])]})


def merged(cases: Sequence[Case]) -> Case:
    """Cases of different series in one, because promtool evaluates all rules again for each case."""
    series = {name: values for case in cases for name, values in case.series.items()}
    assert len(series) == sum(len(case.series) for case in cases)
    return Case("; ".join(case.name for case in cases), series, [each for case in cases for each in case.expected])


def test_the_rules_are_those_that_the_slo_file_gives() -> None:
    assert RULES.read_text(encoding="utf-8") == rules()


def test_the_command_writes_them_for_a_fast_clock(tmp_path: Path) -> None:
    out = tmp_path / "fast.yml"
    run(sys.executable, "-m", "deploy.monitoring.generate", "--shrink", "60", "--out", str(out))
    assert out.read_text(encoding="utf-8") == rules(60) != rules()


def test_promtool_finds_nothing_to_complain_of(promtool: str, tmp_path: Path) -> None:
    fast = tmp_path / "fast.yml"
    fast.write_text(rules(60), encoding="utf-8")
    for path in (RULES, fast):
        assert "SUCCESS" in run(promtool, "check", "rules", "--lint-fatal", str(path))


def test_every_alert_has_its_four_situations(committed: dict[str, Any]) -> None:
    covered = {*PATTERNS, *OBJECTIVES, *(f"{alert}NoData" for alert in OBJECTIVES)}
    assert {rule["alert"] for rule in alerts(committed)} == covered
    assert {slo.alerting.name for slo in slo_file().slos} == set(OBJECTIVES)
    for cases in (*PATTERNS.values(), *map(objective, OBJECTIVES)):
        assert set(SITUATIONS) <= cases.keys()


def test_alerts_of_patterns(committed: dict[str, Any], promtool: str, tmp_path: Path) -> None:
    apart = {"TargetDown", "NoTargets"}  # they look at the same series, and the others at one of their own each
    together = [situations for alert, situations in PATTERNS.items() if alert not in apart]
    cases = [merged([situations[name] for situations in together]) for name in SITUATIONS]
    cases += [case for alert in sorted(apart) for case in PATTERNS[alert].values()]
    assert_judged(promtool, tmp_path, only(committed, lambda name: name == "sdpatterns"), cases)


@pytest.mark.parametrize("alert", OBJECTIVES)
def test_alerts_of_objectives(alert: str, committed: dict[str, Any], promtool: str, tmp_path: Path) -> None:
    (name,) = (slo.name for slo in slo_file().slos if slo.alerting.name == alert)
    own = only(committed, lambda group: group.endswith(f"-shop-{name}"))
    assert_judged(promtool, tmp_path, own, list(objective(alert).values()), evaluated="5m")


def test_a_case_that_comes_out_otherwise_is_told(committed: dict[str, Any], promtool: str, tmp_path: Path) -> None:
    case = PATTERNS["TargetDown"]["fires"]
    wrong = case._replace(expected=[(query, at, 1 - value) for query, at, value in case.expected])
    with pytest.raises(AssertionError, match="FAILED"):
        assert_judged(promtool, tmp_path, only(committed, lambda name: name == "sdpatterns"), [wrong])


def test_prometheus_finds_the_targets_of_the_alerts() -> None:
    (job,) = yaml.safe_load((HERE / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (static,) = job["static_configs"]
    ((label, value),) = static["labels"].items()
    assert f'up{{{label}="{value}"}}' == TARGET
    from shop.settings import CONTEXTS

    ports = {context: 8000 + number for number, context in enumerate(CONTEXTS, 1)}
    asked = ("gateway", "catalog", "reviews", "cart", "inventory", "ordering", "payments", "fulfilment")
    assert static["targets"] == [f"127.0.0.1:{ports[context]}" for context in asked]


def test_what_customers_notice_pages_and_causes_are_tickets(committed: dict[str, Any]) -> None:
    paging = {rule["alert"] for rule in alerts(committed) if rule["labels"]["severity"] == "page"}
    assert paging == {"GatewayErrors", "GatewaySlow", "CheckoutFails"}
