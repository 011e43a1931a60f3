"""Some seeds of every world, and that a seed is one history.

`python -m sdpatterns.testing.simulation` runs any number, `noxfile.py long` a million.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextvars import ContextVar
from pathlib import Path

import pytest

from sdpatterns.ports import local
from sdpatterns.testing.simulation import TROUBLES, simulate
from sdpatterns.testing.simulation.__main__ import WORLDS, main, never_happened

SEEDS = {
    "lease": 40,
    "semaphore": 30,
    "election": 20,
    "jobs": 25,
    "outbox": 40,
    "choreography": 14,
    "log": 30,
    "saga": 14,
    "projection": 10,
    "eventstore": 20,
}
"""Worlds of nodes are larger than the others, and have fewer seeds here: about two seconds of them each."""
OTHERS = 40


# The other tests go through the worlds' lines too; counting them so many times takes most of the time.
@pytest.mark.unmeasured
@pytest.mark.parametrize("name", WORLDS)
def test_no_seed_breaks_a_promise_and_every_fault_occurs(name: str) -> None:
    counts: Counter[str] = Counter()
    for seed in range(SEEDS.get(name, OTHERS)):
        outcome = simulate(WORLDS[name], seed)
        assert not outcome.violations, f"python -m sdpatterns.testing.simulation --world {name} --seed {seed}"
        counts += outcome.counts
    faults = [what for what in WORLDS[name].sometimes if what in TROUBLES]
    assert len(faults) >= 6
    assert [fault for fault in faults if not counts[fault]] == []


def test_a_seed_is_one_history_in_any_process(children_unmeasured: None) -> None:
    """Two processes play the same seed of every world, and so does this one."""
    words = ["--seed", "7", *[word for name in WORLDS for word in ("--world", name)]]
    replays = [
        subprocess.run(
            [sys.executable, "-m", "sdpatterns.testing.simulation", *words],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for hash_seed in ("1", "2")
    ]
    told = [[line for line in said if "digest" in line] for said in replays]
    assert told[0] == told[1]
    digests = [line.partition("digest ")[2].partition(",")[0] for line in told[0]]
    assert digests == [simulate(world, 7).digest for world in WORLDS.values()]
    assert digests != [simulate(world, 8).digest for world in WORLDS.values()]


@pytest.mark.parametrize("name", ["limiter", "algorithms", "quota"])
def test_a_seed_is_one_history_whichever_keys_share_a_shard(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process's hash seed decides that; once in some hundred processes two of these worlds' keys are together."""
    usual = simulate(WORLDS[name], 7).digest
    monkeypatch.setattr(local, "_SHARDS", ContextVar("shards", default=2))
    assert simulate(WORLDS[name], 7).digest == usual


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


def test_a_run_that_was_ended_goes_on_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, parts = tmp_path / "whole.json", tmp_path / "parts.json"
    assert main(["--world", "quota", "--seeds", "0:12", "--out", str(whole)]) == 0
    for last in (5, 12, 12):
        assert main(["--world", "quota", "--seeds", f"0:{last}", "--resume", "--out", str(parts)]) == 0
    assert main(["--world", "limiter", "--seeds", "0:2", "--resume", "--out", str(parts)]) == 0
    [expected], [found, other] = (json.loads(path.read_text(encoding="utf-8"))["worlds"] for path in (whole, parts))
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    assert (other["world"], other["seeds"]) == ("limiter", [0, 2])
    assert "quota: 12 seeds, 0 with violations" in capsys.readouterr().out


def test_going_on_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--resume"])
    assert "--resume needs --out" in capsys.readouterr().err
