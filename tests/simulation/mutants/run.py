"""Plant each bug of this folder in a copy of `src`, and see which seed of its world finds it.

    python -m tests.simulation.mutants.run --out benchmarks/results/simulation_mutants.json
    python -m tests.simulation.mutants.run lease_fence_not_checked

A patch begins with a line `World: NAME` and a sentence that says what is wrong. The seeds up to the one that finds it
have to pass without the patch.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SRC = HERE.parents[2] / "src"
SIMULATION = ("-m", "sdpatterns.testing.simulation")
SEEDS_MAX = 1_000
HANGS_S = 900.0


class Mutant(NamedTuple):
    name: str
    world: str
    what: str
    patch: Path


def mutants() -> list[Mutant]:
    """All of them, by name."""
    return [_read(path) for path in sorted(HERE.glob("*.patch"))]


def _read(path: Path) -> Mutant:
    world, what, *_ = path.read_text(encoding="utf-8").splitlines()
    return Mutant(path.stem, world.removeprefix("World: "), what, path)


class Bench:
    """A compiled copy of `src` in which bugs are planted one by one, and which seeds pass without them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clean = folder / "clean" / "src"
        self._played: Counter[str] = Counter()
        self._broken: dict[str, int] = {}
        shutil.copytree(SRC, self._clean, ignore=shutil.ignore_patterns("__pycache__"))
        # Checked by the text of each file, so that the copies need not be compiled again, except for what is patched.
        compiled = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", str(self._clean)]
        subprocess.run(compiled, check=True)

    def judged(self, mutant: Mutant, seeds_max: int) -> dict[str, Any]:
        """Whether it was found, by which seed, and what was said."""
        result: dict[str, Any]
        began = time.monotonic()
        found = self._found(mutant, seeds_max)
        result = {"mutant": mutant.name, "world": mutant.world, "what": mutant.what, "found": bool(found)}
        if found:
            seed = int(found[1])
            result |= {"seed": seed, "said": found[2][:200], "passes_without_it": self.passes(mutant.world, seed)}
        return {**result, "seconds": round(time.monotonic() - began, 1)}

    def _found(self, mutant: Mutant, seeds_max: int) -> re.Match[str] | None:
        copy = self._folder / mutant.name
        shutil.copytree(self._clean, copy / "src")
        subprocess.run(["git", "apply", "--unsafe-paths", str(mutant.patch)], cwd=copy, check=True)
        try:
            return violation(copy / "src", mutant.world, f"0:{seeds_max}")
        finally:
            shutil.rmtree(copy)

    def passes(self, world: str, seed: int) -> bool:
        """Whether no seed up to this one breaks a promise without a bug. Each is played once, for all bugs."""
        first = self._played[world]
        if seed >= first and world not in self._broken:
            found = violation(self._clean, world, f"{first}:{seed + 1}")
            self._played[world] = seed + 1
            if found:
                self._broken[world] = int(found[1])
        return seed < self._broken.get(world, seed + 1)


def violation(src: Path, world: str, seeds: str) -> re.Match[str] | None:
    """The first of these seeds that breaks a promise, and which."""
    words = [sys.executable, *SIMULATION, "--world", world, "--seeds", seeds, "--until", "1", "--no-shrink"]
    environment = {**os.environ, "PYTHONPATH": str(src), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=HANGS_S, check=False)
    if ended.returncode not in {0, 1} or ended.stderr:
        raise RuntimeError(ended.stderr or ended.stdout)
    return re.search(r"seed (\d+): (.*)", ended.stdout)


def say(words: str) -> None:
    """At once, because each takes a while."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def main(words: Sequence[str] | None = None) -> int:
    """0 when at least 95 of 100 were found, each by a seed that passes without it, as do all before it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants.run", description=__doc__)
    parser.add_argument("names", nargs="*", help="which of them (all)")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help=f"at most so many seeds for each ({SEEDS_MAX})")
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    options = parser.parse_args(words)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for mutant in mutants():
            if not options.names or mutant.name in options.names:
                results.append(bench.judged(mutant, options.seeds))
                found = results[-1]
                say(f"{found['mutant']}: {found.get('seed', 'NOT FOUND')} {found.get('said', '')}")
    share = sum(each["found"] and each["passes_without_it"] for each in results) / len(results)
    say(f"{share:.1%} of {len(results)} found")
    if options.out:
        report = {"command": f"python -m tests.simulation.mutants.run --seeds {options.seeds}", "mutants": results}
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return int(share < 0.95)


if __name__ == "__main__":
    sys.exit(main())
