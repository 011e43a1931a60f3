"""The chart's values are what the shop's registry says."""

from __future__ import annotations

import pytest

from deploy import services
from shop.settings import ALONE, CALLS, CONTEXTS, DEPLOYABLES, PORTS, PUBLIC_PORT
from shop.stage import fleet_servers


def test_the_committed_values_are_what_the_registry_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert services.main([]) == 0, capsys.readouterr().err


def test_values_that_fell_behind_are_refused_and_written_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    from pathlib import Path

    old = services.VALUES.read_text(encoding="utf-8")
    copy = Path(str(tmp_path)) / "values.yaml"
    copy.write_text(old.replace("drainSeconds: 10", "drainSeconds: 11"), encoding="utf-8")
    monkeypatch.setattr(services, "VALUES", copy)
    assert services.main([]) == 1
    assert "--write" in capsys.readouterr().err
    assert services.main(["--write"]) == 0
    assert copy.read_text(encoding="utf-8") == old


def test_a_file_without_the_mark_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="has lost the line"):
        services.written("image: {}\n")


def test_each_context_runs_once_at_its_own_port() -> None:
    found = services.services()
    ports = {name: port for entry in found.values() for name, port in entry["contexts"].items()}
    assert ports == PORTS
    assert len({*ports.values(), PUBLIC_PORT}) == len(CONTEXTS) + 1
    assert {name for name, entry in found.items() if entry["alone"]} == set(ALONE)


def test_the_calls_between_services_are_those_of_their_contexts() -> None:
    place = {context: name for name, contexts in DEPLOYABLES.items() for context in contexts}
    wanted = {(place[caller], place[to], PORTS[to]) for caller, callees in CALLS.items() for to in callees}
    wanted.add(("control", "gateway", PUBLIC_PORT))  # its simulated visitors come in as all visitors do
    written = {
        (name, to, port)
        for name, entry in services.services().items()
        for to, ports in entry["calls"].items()
        for port in ports
    }
    assert written == wanted


def test_every_context_with_a_database_is_given_postgres() -> None:
    with_databases = {name.partition("-")[0] for name in fleet_servers.DATABASES}
    for name, entry in services.services().items():
        assert ("postgres" in entry["stores"]) == bool(with_databases & set(DEPLOYABLES[name])), name
