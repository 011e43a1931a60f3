"""The chart in real pods: bought from, killed, drained, rolled, and taken down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.play import podman

ROOT = Path(__file__).parents[2]
STEPS = (
    *("images built", "Postgres and Valkey ready", "schema Job", "all pods of the shop ready", "one purchase"),
    *("customers buy", "a pod of ordering killed", "a pod of the gateway drained", "rolled to v2", "invariants"),
    "taken down",
)


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


def test_all_pods_weigh_as_much_as_so_many_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """podman's group of all pods weighs as much as one process, and a shop beside twenty others then stands still."""
    shares, weight = tmp_path / "cpu.shares", tmp_path / "missing" / "cpu.weight"
    monkeypatch.setattr(podman, "WEIGHTS", ((shares, 1024, 262_144), (weight, 100, 10_000)))
    for pods, expected in ((13, 13 * 1024), (1_000, 262_144), (0, 1024)):
        podman.weigh(pods)
        assert shares.read_text() == str(expected)
