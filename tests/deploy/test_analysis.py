"""What the canary's analysis asks Prometheus: one number in every case, and the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.checks.objects import of_kind
from deploy.checks.rendering import VARIANTS, rendered
from tests.programs import needed
from tests.promtool import Case, assert_judged

CANARY = 'namespace="shop",job="cart",rollouts_pod_template_hash="new"'
STABLE = 'namespace="shop",job="cart",rollouts_pod_template_hash="old"'


def conditions() -> set[str]:
    return {
        metric["successCondition"]
        for template in of_kind(rendered(VARIANTS["production"]), "AnalysisTemplate")
        for metric in template["spec"]["metrics"]
    }


def queries() -> dict[str, str]:
    """Each metric's query as Argo Rollouts asks it for the new pods of the cart."""
    return {
        metric["name"]: metric["provider"]["prometheus"]["query"]
        .replace("{{args.service}}", "cart")
        .replace("{{args.pods}}", "new")
        for template in of_kind(rendered(VARIANTS["production"]), "AnalysisTemplate")
        for metric in template["spec"]["metrics"]
    }


def counted(pods: str, status: str) -> str:
    return f'sdpatterns_request_finished_total{{{pods},name="cart",status="{status}"}}'


def timed(pods: str, le: str) -> str:
    return f'sdpatterns_request_finished_duration_seconds_bucket{{{pods},name="cart",le="{le}"}}'


ERRORS, LATENCY, SCRAPED = queries()["errors"], queries()["latency"], queries()["scraped"]
AFTER = "10m"
CASES = [
    Case("no data", {}, [(ERRORS, AFTER, 0), (LATENCY, AFTER, 0), (SCRAPED, AFTER, 1)]),
    Case("no errors", {counted(CANARY, "200"): "0+600x20"}, [(ERRORS, AFTER, 0)]),
    Case(
        "a twentieth fails",
        {counted(CANARY, "200"): "0+570x20", counted(CANARY, "503"): "0+30x20"},
        [(ERRORS, AFTER, 0.05)],
    ),
    Case(
        "only the old pods fail",
        {counted(CANARY, "200"): "0+600x20", counted(STABLE, "503"): "0+600x20"},
        [(ERRORS, AFTER, 0)],
    ),
    Case(
        "one of three fails, which is too little traffic",
        {counted(CANARY, "200"): "0x18 1 2 2", counted(CANARY, "503"): "0x18 0 0 1"},
        [(ERRORS, "20m", 0)],
    ),
    Case(
        "one fails at the least traffic that counts",
        {counted(CANARY, "200"): "0+61x20", counted(CANARY, "503"): "0x19 1"},
        [(f"({ERRORS}) <= bool 0.01", "20m", 1), (f"({ERRORS}) > bool 0", "20m", 1)],
    ),
    Case(
        "slow",
        {
            counted(CANARY, "200"): "0+600x20",
            **{timed(CANARY, le): f"0+{count}x20" for le, count in (("1", 0), ("2", 600), ("+Inf", 600))},
        },
        [(LATENCY, AFTER, 1.99)],
    ),
    Case(
        "slow, but too few to judge",
        {
            counted(CANARY, "200"): "0+30x20",
            **{timed(CANARY, le): f"0+{count}x20" for le, count in (("1", 0), ("2", 30), ("+Inf", 30))},
        },
        [(LATENCY, AFTER, 0)],
    ),
    Case("a new pod cannot be read", {f"up{{{CANARY}}}": "0x20", f"up{{{STABLE}}}": "1x20"}, [(SCRAPED, AFTER, 0)]),
]


def test_each_query_gives_one_number_in_every_case(tmp_path: Path) -> None:
    assert_judged(needed("promtool", "prometheus"), tmp_path, "groups: []\n", CASES)


def test_each_condition_is_ready_for_an_empty_vector_all_the_same() -> None:
    for condition in conditions():
        assert condition.startswith("len(result) == 0 || isNaN(result[0]) || result[0] "), condition


def test_a_query_without_its_default_gives_nothing_where_there_is_no_data(tmp_path: Path) -> None:
    bare = Case("no data", {}, [(ERRORS.removesuffix("or vector(0)\n"), AFTER, 0)])
    with pytest.raises(AssertionError, match="FAILED"):
        assert_judged(needed("promtool", "prometheus"), tmp_path, "groups: []\n", [bare])
