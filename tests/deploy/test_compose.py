"""The compose file has the services of the shop's registry, and the ports and settings that pods have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deploy.checks.programs import compose_faults
from shop.settings import CONTEXTS, DEPLOYABLES, PORTS, PUBLIC_PORT
from shop.stage.pod_settings import PodSettings

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return found


def test_the_schema_of_the_specification_finds_nothing(tmp_path: Path) -> None:
    assert compose_faults(COMPOSE) == []
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text(encoding="utf-8").replace("read_only: true", "readonly: true"))
    assert any("readonly" in fault for fault in compose_faults(broken))


def test_each_deployable_is_a_service_under_its_own_name() -> None:
    pods = {name: found["command"][1] for name, found in services().items() if found["command"][:1] == ["pod"]}
    assert pods == {name: name for name in DEPLOYABLES}
    assert set(services()) - set(pods) == {"postgres", "valkey", "schema", "prometheus"}


def test_only_settings_that_a_pod_knows_are_told() -> None:
    known = {f"SHOP_{name.upper()}" for name in PodSettings.model_fields}
    for name in (*DEPLOYABLES, "schema"):
        assert set(services()[name]["environment"]) <= known


def test_visitors_come_in_at_one_port_and_prometheus_asks_all_contexts() -> None:
    published = {name: found["ports"] for name, found in services().items() if "ports" in found}
    assert published == {"gateway": [f"127.0.0.1:{PUBLIC_PORT}:{PUBLIC_PORT}"], "prometheus": ["127.0.0.1:9090:9090"]}
    told = yaml.safe_load(yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["configs"]["prometheus"]["content"])
    targets = told["scrape_configs"][0]["static_configs"][0]["targets"]
    where = {context: name for name, contexts in DEPLOYABLES.items() for context in contexts}
    assert targets == [f"{where[context]}:{PORTS[context]}" for context in CONTEXTS]
