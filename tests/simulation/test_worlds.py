"""A hundred seeds of every world.

`python -m sdpatterns.testing.simulation` runs any number, `noxfile.py long` a million.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sdpatterns.testing.simulation import simulate
from sdpatterns.testing.simulation.__main__ import WORLDS, main, never_happened

SEEDS = range(100)


# The other tests go through the worlds' lines too; counting them a hundred times takes most of the time.
@pytest.mark.unmeasured
@pytest.mark.parametrize("name", WORLDS)
def test_no_seed_breaks_a_promise_and_every_fault_occurs(name: str) -> None:
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        outcome = simulate(WORLDS[name], seed)
        assert not outcome.violations, f"python -m sdpatterns.testing.simulation --world {name} --seed {seed}"
        counts += outcome.counts
    assert never_happened(WORLDS[name], counts, len(SEEDS)) == []


@pytest.mark.parametrize("name", WORLDS)
def test_a_seed_is_one_history_in_any_process(children_unmeasured: None, name: str) -> None:
    replays = [
        subprocess.run(
            [sys.executable, "-m", "sdpatterns.testing.simulation", "--world", name, "--seed", "7"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[0]
        for hash_seed in ("1", "2")
    ]
    assert replays[0] == replays[1]
    assert simulate(WORLDS[name], 7).digest in replays[0]
    assert simulate(WORLDS[name], 8).digest != simulate(WORLDS[name], 7).digest


def test_a_fault_that_never_occurred_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    world = WORLDS["limiter"]
    counts = Counter(dict.fromkeys(world.sometimes, 1))
    assert never_happened(world, counts, 1000) == []
    counts["lost_after"] = 0
    assert never_happened(world, counts, 1000) == ["lost_after"]
    assert never_happened(world, counts, 1) == []


def test_the_command_reports_seeds_and_writes_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    assert main(["--world", "breaker", "--seeds", "0:20", "--jobs", "2", "--out", str(out)]) == 0
    assert "breaker: 20 seeds, 0 with violations" in capsys.readouterr().out
    text = out.read_text(encoding="utf-8")
    assert '"violations": 0' in text
    assert "--world breaker --seeds 0:20" in text
