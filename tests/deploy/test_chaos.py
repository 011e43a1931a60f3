"""The experiments of game days: the format, its JSON Schema, and the resources of Chaos Mesh made from them."""

from __future__ import annotations

import copy
import json
import tomllib
from typing import Any

import jsonschema_rs
import pytest
import yaml

from deploy.chaos import mesh
from deploy.chaos.__main__ import HERE, MESH, SCHEMA, experiments, generated
from shop.stage.faults import KINDS
from shop.stage.gameday.experiment import Experiment, parse
from shop.validation import InvalidInput

FILES = sorted(HERE.glob("*.toml"))
CHAOS_MESH = json.loads((HERE / "chaos-mesh.schema.json").read_text(encoding="utf-8"))


def document(name: str = "quick") -> dict[str, Any]:
    """An experiment as plain values, to be changed."""
    return tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))


def faults_of(resource: Any) -> list[str]:
    return [error.message for error in jsonschema_rs.validator_for(CHAOS_MESH).iter_errors(resource)]


def test_each_file_is_named_as_its_experiment() -> None:
    assert [each.name for each in experiments()] == [path.stem for path in FILES]


def test_what_is_generated_is_up_to_date() -> None:
    found = {path: path.read_text(encoding="utf-8") for path in (SCHEMA, *MESH.glob("*.yaml"))}
    assert found == generated(), "run `python -m deploy.chaos`"


def test_the_json_schema_takes_every_file_and_refuses_what_the_shop_refuses() -> None:
    judge = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert all(judge.is_valid(document(path.stem)) for path in FILES)
    unknown, late, empty = (document() for _ in range(3))
    unknown["faults"][0]["procent"] = 5
    late["duration_s"] = 601
    empty["abort"] = []
    for broken in (unknown, late, empty):
        assert not judge.is_valid(broken)
        with pytest.raises(InvalidInput):
            parse(_toml(broken))


def _toml(value: dict[str, Any]) -> str:
    """The few shapes of TOML that an experiment has."""
    tables = {name: inner for name, inner in value.items() if isinstance(inner, dict)}
    lists = {name: inner for name, inner in value.items() if isinstance(inner, list)}
    plain = {name: inner for name, inner in value.items() if name not in (*tables, *lists)}
    parts = [f"{name} = []" for name, rows in lists.items() if not rows] + _lines(plain)
    for name, inner in tables.items():
        parts += [f"[{name}]", *_lines(inner)]
    for name, rows in lists.items():
        for row in rows:
            parts += [f"[[{name}]]", *_lines(row)]
    return "\n".join(parts)


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in table.items()]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"faults": [{"target": "psp", "kind": "fail", "ttl_s": 5}]}, "beyond the blast radius"),
        ({"faults": [{"target": "sellers", "kind": "pause", "ttl_s": 5}]}, "has no fault pause"),
        ({"faults": [{"target": "sellers", "kind": "slow", "ttl_s": 5, "after_s": 3}]}, "begin after the end"),
        ({"abort": [{"name": "nothing to compare with", "of": "broken"}]}, "needs `equals`"),
        ({"abort": [{"name": "both", "of": "broken", "above": 1, "get": "/"}]}, "either `of` or `get`"),
        ({"abort": [{"name": "elsewhere", "get": "//example.org/"}]}, "pattern"),
    ],
    ids=["blast radius", "kind", "late", "bounds", "both", "host"],
)
def test_an_experiment_that_cannot_be_held_is_refused_with_the_reason(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse(_toml(document() | change))


def test_a_file_that_is_no_toml_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is no TOML"):
        parse("[[")


def test_each_resource_fits_the_schema_of_chaos_mesh() -> None:
    resources = [each for path in MESH.glob("*.yaml") for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    assert {each["kind"] for each in resources} == {"HTTPChaos", "PodChaos", "StressChaos"}
    assert [fault for each in resources for fault in faults_of(each)] == []


def every_kind() -> Experiment:
    """An experiment with each fault there is."""
    plain = document() | {"blast_radius": {"targets": list(KINDS), "percent_max": 100, "note": "everything"}}
    kinds = [(target, kind) for target, kinds in KINDS.items() for kind in kinds]
    faults = [{"target": target, "kind": kind, "percent": 50, "ttl_s": 5} for target, kind in kinds]
    return parse(_toml(plain | {"faults": faults}))


def test_each_kind_of_fault_becomes_a_resource_or_is_listed_as_left_out() -> None:
    experiment = every_kind()
    made = mesh.resources(experiment)
    assert [fault for each in made for fault in faults_of(each)] == []
    assert {each["kind"] for each in made} == {"HTTPChaos", "NetworkChaos", "StressChaos"}
    left_out = {said.partition(": ")[2] for said in mesh.left_out(experiment)}
    assert left_out == {"late", "twice", "older", "pause", "poison"}
    assert len(made) + len(mesh.left_out(experiment)) == len(experiment.faults) + len(experiment.cluster_faults)
    reviews = next(each for each in made if each["spec"].get("port") == 9003)
    assert reviews["spec"]["selector"]["labelSelectors"] == {"app.kubernetes.io/name": "catalog"}


def test_a_broken_resource_does_not_fit() -> None:
    (good, *_) = mesh.resources(every_kind())
    typo, mode, number, kind = (copy.deepcopy(good) for _ in range(4))
    typo["spec"]["durration"] = "5s"
    mode["spec"]["mode"] = "most"
    number["spec"]["value"] = 50
    kind["kind"] = "HttpChaos"
    for broken in (typo, mode, number, kind):
        assert faults_of(broken), broken
