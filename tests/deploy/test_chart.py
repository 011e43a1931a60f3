"""Helm renders the chart for every file of values, and refuses values that are not meant."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python.errors import HelmError

from deploy.checks.rendering import CHART, PRODUCTION, TRYING, VARIANTS, Variant, lint_messages, rendered
from deploy.monitoring.generate import TARGET


def test_every_file_of_values_is_rendered() -> None:
    files = [*CHART.glob("values-*.yaml"), *CHART.parents[1].glob("gitops/environments/*/values.yaml")]
    named = {(CHART / name).resolve() for variant in VARIANTS.values() for name in variant.files}
    assert named == {path.resolve() for path in files}


@pytest.mark.parametrize("name", VARIANTS)
def test_helm_lints_the_chart_and_finds_nothing(name: str) -> None:
    assert lint_messages(VARIANTS[name]) == []


def test_helm_lint_refuses_a_template_that_is_no_yaml(tmp_path: Path) -> None:
    copy = tmp_path / "shop"
    shutil.copytree(CHART, copy)
    (copy / "templates" / "broken.yaml").write_text("kind: [Service\n", encoding="utf-8")
    assert any("broken.yaml" in message for message in lint_messages(Variant(), copy))


MISTAKES: tuple[dict[str, Any], ...] = (
    {"imagee": {}},
    {"image": {"digest": "sha256:short"}},
    {"settings": {"visitors": 51}},
    {"settings": {"publicUrl": "shop.example.com"}},
    {"services": {"gateway": {"replicsa": 2}}},
    {"services": {"gateway": {"calls": {"cart": ["9004"]}}}},
    {"defaults": {"autoscaling": {"minReplicas": 1}}},
    {"defaults": {"resources": {"limits": {"memory": "lots"}}}},
    {"networkPolicies": {"publicFrom": [{"namespaceSelectorr": {}}]}},
    {"mesh": {"retries": 4}},
)


@pytest.mark.parametrize("more", MISTAKES, ids=str)
def test_values_that_the_schema_does_not_know_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(HelmError, match="schema"):
        rendered(Variant(TRYING, more))


def test_production_refuses_an_image_without_a_digest() -> None:
    with pytest.raises(HelmError, match=r"image\.digest is required"):
        rendered(Variant(PRODUCTION))


def test_production_refuses_stores_that_are_at_no_address() -> None:
    more = {"image": {"digest": f"sha256:{'a' * 64}"}, "stores": {"postgres": {"cidrs": []}}}
    with pytest.raises(HelmError, match=r"stores\.postgres\.cidrs is empty"):
        rendered(Variant(PRODUCTION, more))


def test_the_rules_are_those_of_the_folder_for_monitoring() -> None:
    (rule,) = (each for each in rendered(VARIANTS["production"]) if each["kind"] == "PrometheusRule")
    there = yaml.safe_load((CHART.parents[1] / "monitoring" / "rules.yml").read_text(encoding="utf-8"))
    assert rule["spec"] == there
    assert any("{{" in str(each) for group in there["groups"] for each in group["rules"])  # Helm leaves those alone


def test_the_alerts_find_the_programs_of_the_chart() -> None:
    label, value = "app.kubernetes.io/part-of", "shop"
    all_of_it = rendered(VARIANTS["production"])
    monitors = [each for each in all_of_it if each["kind"] == "ServiceMonitor"]
    assert monitors
    assert all(label in each["spec"]["targetLabels"] for each in monitors)
    assert all(each["metadata"]["labels"][label] == value for each in all_of_it if each["kind"] == "Service")
    assert f'up{{{re.sub(r"[^a-z]", "_", label)}="{value}"}}' == TARGET


def test_a_new_service_is_one_entry_in_the_values() -> None:
    entry = {"contexts": {"gifts": 9099}, "alone": False, "calls": {"catalog": [9002]}, "stores": [], "drainSeconds": 5}
    before, after = rendered(Variant()), rendered(Variant(TRYING, {"services": {"gifts": entry}}))
    new = {(each["kind"], each["metadata"]["name"]) for each in after} - {
        (each["kind"], each["metadata"]["name"]) for each in before
    }
    assert new == {(kind, "gifts") for kind in ("Deployment", "Service", "ServiceAccount", "NetworkPolicy")}
    (catalog,) = (each for each in after if (each["kind"], each["metadata"]["name"]) == ("NetworkPolicy", "catalog"))
    assert "gifts" in str(catalog["spec"]["ingress"])
