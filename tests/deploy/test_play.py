"""The chart in real pods: bought from, killed, drained, rolled, and taken down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.checks.rendering import Variant, rendered
from deploy.image import build
from deploy.image.host_base import import_base
from deploy.play import images, operating, podman
from deploy.play.cluster import Cluster, Pod
from deploy.play.translate import translated
from shop.settings import CONTEXTS, DEPLOYABLES
from tests.programs import needed

ROOT = Path(__file__).parents[2]
STEPS = (
    *("images built", "Postgres and Valkey ready", "schema Job", "all pods of the shop ready", "one purchase"),
    *("customers buy", "a pod of ordering killed", "a pod of the gateway drained", "rolled to v2", "invariants"),
    "taken down",
)


@pytest.mark.long
@pytest.mark.unmeasured
@pytest.mark.timeout(900)
def test_an_image_that_is_built_twice_has_the_same_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if problem := podman.why_not():
        pytest.skip(f"pods cannot be played here: {problem}")
    monkeypatch.setenv("CONTAINERS_CONF", os.environ.get("CONTAINERS_CONF", ""))  # so that it is put back
    monkeypatch.delenv("CONTAINERS_CONF")
    podman.configured(tmp_path)
    found, tags = [], [f"{build.IMAGE}:twice-{number}" for number in (1, 2)]
    try:
        for tag in tags:
            base = import_base("podman")
            build.gather(tmp_path / tag, build.python_of("podman", base))
            build.build("podman", tmp_path / tag, base=base, tag=tag, version="twice")
            found.append((build.layers(base), build.digest_of(tmp_path / tag), build.layers(tag)))
    finally:
        subprocess.run(["podman", "image", "rm", "--force", *tags], check=False)
    assert found[0] == found[1]


@pytest.mark.long
@pytest.mark.unmeasured
@pytest.mark.parametrize("short", [True, False])
@pytest.mark.timeout(900)
def test_the_shop_in_pods_keeps_its_promises(short: bool) -> None:
    if problem := podman.why_not():
        pytest.skip(f"pods cannot be played here: {problem}")
    path = os.pathsep.join(str(ROOT / part) for part in ("", "src", "examples"))
    played = subprocess.run(
        [sys.executable, "-m", "deploy.play", *(["--short"] if short else [])],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    table = [line for line in played.stdout.splitlines() if re.match(r"kept  |BROKEN", line)]
    assert played.returncode == 0, played.stdout + played.stderr
    assert len(table) == len(STEPS)
    assert all(step in line for step, line in zip(STEPS, table, strict=True))
    for words in (("pod", "ps"), ("volume", "ls", "--filter", f"label={podman.LABEL}")):
        left = subprocess.run(["podman", *words, "--quiet"], capture_output=True, text=True, check=True)
        assert left.stdout == ""


def test_an_operator_gets_the_addresses_of_the_runbooks_and_a_prometheus_for_them(tmp_path: Path) -> None:
    world = translated(rendered(Variant(more=images.values("v1", {"gateway": 2}))))
    cluster = Cluster(world, tmp_path)
    for number, name in enumerate(["gateway", *DEPLOYABLES], 1):
        cluster.pods[name].append(Pod(f"{name}-{number}", world.workloads[name], f"127.0.2.{number}", ready=True))
    said = operating.told(cluster, tmp_path)
    page = (ROOT / "docs" / "runbooks" / "index.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"once in each terminal.*?```", page, re.DOTALL)
    assert set(re.findall(r"([A-Z]+)=", block)) == set(re.findall(r"^export (\w+)=", said, re.MULTILINE))
    assert "export SHOP=http://127.0.2.1:8080\n" in said
    promtool = needed("promtool", "prometheus")
    subprocess.run([promtool, "check", "config", str(tmp_path / "prometheus.yml")], check=True)
    assert len(re.findall(r"127\.0\.2\.\d+:90", (tmp_path / "prometheus.yml").read_text())) == len(CONTEXTS) + 1


def test_all_pods_weigh_as_much_as_so_many_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """podman's group of all pods weighs as much as one process, and a shop beside twenty others then stands still."""
    shares, weight = tmp_path / "cpu.shares", tmp_path / "missing" / "cpu.weight"
    monkeypatch.setattr(podman, "WEIGHTS", ((shares, 1024, 262_144), (weight, 100, 10_000)))
    for pods, expected in ((13, 13 * 1024), (1_000, 262_144), (0, 1024)):
        podman.weigh(pods)
        assert shares.read_text() == str(expected)
