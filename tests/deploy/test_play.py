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
    left = subprocess.run(["podman", "pod", "ps", "--quiet"], capture_output=True, text=True, check=True)
    assert left.stdout == ""
