"""Bugs planted as patches: each still fits the source, and its world finds it.

`python -m tests.simulation.mutants.run` looks for all of them; see `benchmarks/results/simulation_mutants.json`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sdpatterns.testing.simulation.__main__ import WORLDS
from tests.simulation.mutants.run import SRC, Bench, Mutant, main, mutants


def test_each_mutant_fits_the_source_and_names_its_world() -> None:
    assert mutants()
    assert {mutant.world for mutant in mutants()} <= set(WORLDS)
    patches = [str(mutant.patch) for mutant in mutants()]
    # Each alone: two of them may change the same line.
    misfits = [
        patch
        for patch in patches
        if subprocess.run(["git", "apply", "--check", patch], cwd=SRC.parent, check=False).returncode
    ]
    assert misfits == []


@pytest.mark.unmeasured
def test_a_mutant_is_found_by_a_seed_that_passes_without_it(
    children_unmeasured: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mutants.json"
    assert main(["lease_fence_not_checked", "--seeds", "50", "--out", str(out)]) == 0
    assert "acknowledged updates" in capsys.readouterr().out
    assert '"passes_without_it": true' in out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.long
@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_every_mutant_is_found(mutant: Mutant, bench: Bench) -> None:
    found = bench.judged(mutant, 1000)
    assert found["found"]
    assert found["passes_without_it"]
