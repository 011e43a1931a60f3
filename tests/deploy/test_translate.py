"""What podman gets of the chart: each rule does one thing, and nothing of the chart is lost in silence."""

from __future__ import annotations

import base64
import json
from typing import Any

from deploy.checks.rendering import VARIANTS, rendered
from deploy.play import translate
from deploy.play.translate import RULES, Probe, World, translated
from shop.settings import ALONE, DEPLOYABLES, PORTS


def whole() -> World:
    return translated(rendered(VARIANTS["trying"]))


def test_the_chart_becomes_a_workload_for_each_deployable_and_both_stores() -> None:
    world = whole()
    assert set(world.workloads) == {*DEPLOYABLES, "postgres", "valkey"}
    assert world.objects == []
    for name, contexts in DEPLOYABLES.items():
        workload = world.workloads[name]
        assert workload.names == [name]
        assert workload.ready in [Probe(PORTS[context], "/readyz") for context in contexts]
        assert workload.recreated == (name in ALONE)
        assert workload.pause_s > 0
        assert workload.grace_s > workload.pause_s
    assert world.workloads["postgres"].ready == Probe(5432)
    assert [job.name.partition("-")[0] for job in world.jobs] == ["schema"]


def test_podman_gets_only_what_it_keeps() -> None:
    world = whole()
    for workload in world.pods():
        config_map, *claims, pod = world.manifest(workload, f"{workload.name}-1")
        assert (config_map["kind"], pod["kind"], pod["metadata"]["name"]) == ("ConfigMap", "Pod", f"{workload.name}-1")
        (container,) = pod["spec"]["containers"]
        assert not {"ports", "lifecycle", "startupProbe", "livenessProbe", "readinessProbe"} & set(container)
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["resources"]["limits"]["memory"]
        volumes = [(volume["name"], volume["persistentVolumeClaim"]["claimName"]) for volume in pod["spec"]["volumes"]]
        assert all(claim == f"{workload.name}-1-{name}" for name, claim in volumes)
        assert [claim["metadata"]["name"] for claim in claims] == [claim for _, claim in volumes]
        assert {"name": "timeout", "value": "1"} in pod["spec"]["dnsConfig"]["options"]
    assert world.manifest(world.workloads["cart"], "cart-1") != world.manifest(world.workloads["cart"], "cart-2")


def test_a_secret_is_json_in_base64() -> None:
    objects: list[dict[str, Any]] = [
        {"kind": "Secret", "metadata": {"name": "both"}, "data": {"A": "aGVsbG8="}, "stringData": {"B": "grüße"}}
    ]
    found = json.loads(translated(objects).secrets["both"])
    assert {name: base64.b64decode(value).decode() for name, value in found.items()} == {"A": "hello", "B": "grüße"}


def test_a_variable_in_the_words_of_a_container_is_filled_in() -> None:
    world = whole()
    words = world.workloads["valkey"].pod["spec"]["containers"][0]["args"]
    secret = json.loads(world.secrets["shop-stores-inside"])
    assert words[words.index("--requirepass") + 1] == base64.b64decode(secret["PASSWORD"]).decode()
    assert not [word for word in words if "$(" in word]


def test_each_rule_that_did_something_is_told_with_its_sentence() -> None:
    said: list[str] = []
    translated(rendered(VARIANTS["trying"]), said.append)
    told = {line.partition("×")[2].strip().partition(" (")[0] for line in said}
    assert told == {(rule.__doc__ or "").strip().partition(" (")[0] for rule in RULES}
    assert "NetworkPolicy" in said[-1]
    assert "Service with an address" in said[-1]


def test_a_rule_without_work_is_not_told() -> None:
    said: list[str] = []
    world = translated([{"kind": "ConfigMap", "metadata": {"name": "one"}, "data": {}}], said.append)
    assert [line.partition("×")[2].strip() for line in said] == [translate.config_maps_with_each_pod.__doc__]
    assert world.config_maps[0]["metadata"]["name"] == "one"
