"""Environments have the same keys, and each difference has a reason. `test_policy.py` judges what they render to."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from deploy.checks import custom_resources
from deploy.checks.rendering import CHART, ENVIRONMENTS, TWO_REGIONS, VARIANTS, Variant, rendered

GITOPS = CHART.parents[1] / "gitops"


def load(name: str) -> Any:
    return yaml.safe_load((GITOPS / name).read_text(encoding="utf-8"))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}".lstrip("."))
    else:
        yield path, value


def told() -> dict[str, dict[str, Any]]:
    return {name: dict(leaves(load(f"environments/{name}/values.yaml"))) for name in ENVIRONMENTS}


def differing(environments: Mapping[str, Mapping[str, Any]]) -> set[str]:
    first, *others = environments.values()
    return {key for key in first if any(other[key] != first[key] for other in others)}


def missing(environments: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    every = {key for values in environments.values() for key in values}
    return {name: gone for name, values in environments.items() if (gone := every - set(values))}


def test_each_environment_has_the_same_keys_and_each_difference_a_reason() -> None:
    environments, reasons = told(), load("differences.yaml")
    assert missing(environments) == {}
    assert differing(environments) == set(reasons)
    assert all(isinstance(reason, str) and len(reason) > 5 for reason in reasons.values())


def test_a_key_that_one_environment_lacks_and_a_new_difference_are_seen() -> None:
    environments = copy.deepcopy(told())
    del environments["us"]["settings.publicUrl"]
    assert missing(environments) == {"us": {"settings.publicUrl"}}
    environments = copy.deepcopy(told())
    environments["us"]["region.primary"] = "us"
    assert "region.primary" in differing(environments)


def test_every_folder_is_an_environment_that_is_rendered_and_judged() -> None:
    assert {path.name for path in (GITOPS / "environments").iterdir()} == set(ENVIRONMENTS)
    (generator,) = load("applicationset.yaml")["spec"]["generators"]
    assert generator["git"]["directories"] == [{"path": "deploy/gitops/environments/*"}]
    files = load("applicationset.yaml")["spec"]["template"]["spec"]["source"]["helm"]["valueFiles"]
    for name in ENVIRONMENTS:
        assert VARIANTS[f"environment {name}"].files == tuple(
            each.replace("{{.path.basename}}", name) for each in files
        )
        assert all((CHART / each).is_file() for each in VARIANTS[f"environment {name}"].files)


def test_every_environment_has_its_turn_and_a_cluster() -> None:
    steps = load("applicationset.yaml")["spec"]["strategy"]["rollingSync"]["steps"]
    turns = [name for step in steps for expression in step["matchExpressions"] for name in expression["values"]]
    assert turns[0] == "dev"
    assert sorted(turns) == sorted(ENVIRONMENTS)
    clusters = [each["name"] for each in load("project.yaml")["spec"]["destinations"]]
    assert sorted(clusters) == sorted(ENVIRONMENTS)


def test_argo_cd_may_make_what_the_chart_makes_and_no_secret() -> None:
    allowed = {(each["group"], each["kind"]) for each in load("project.yaml")["spec"]["namespaceResourceWhitelist"]}
    hooks = {("", "Pod")}  # of `helm test`, which Argo CD does not run
    made = {
        (found["apiVersion"].rpartition("/")[0], found["kind"])
        for name in ENVIRONMENTS
        for found in rendered(VARIANTS[f"environment {name}"])
    }
    assert made - hooks == allowed


@pytest.mark.nightly
def test_argo_cd_knows_every_field() -> None:
    found = [load("applicationset.yaml"), load("project.yaml")]
    assert custom_resources.faults(found) == []
    found[0]["spec"]["template"]["spec"]["syncPolicy"]["automated"]["selfHeel"] = True
    del found[1]["spec"]["destinations"]
    found[1]["spec"]["destinations"] = "eu"
    assert {fault.partition(":")[0] for fault in custom_resources.faults(found)} == {
        "ApplicationSet shop",
        "AppProject shop",
    }


def test_only_the_primary_region_makes_the_schema() -> None:
    jobs = {
        name: [found for found in rendered(VARIANTS[f"environment {name}"]) if found["kind"] == "Job"]
        for name in ENVIRONMENTS
    }
    assert {name: len(found) for name, found in jobs.items()} == {"dev": 1, "eu": 1, "us": 0}


def test_after_a_failover_the_other_region_makes_it() -> None:
    files = (*TWO_REGIONS, "../../gitops/environments/us/values.yaml")
    after = rendered(Variant(files, {"region": {"primary": "us"}}))
    assert [found["kind"] for found in after if found["kind"] == "Job"] == ["Job"]
