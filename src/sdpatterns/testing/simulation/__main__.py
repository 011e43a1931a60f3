"""Run many seeds of a world, or one of them again."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sdpatterns.testing.simulation import Outcome, World, simulate
from sdpatterns.testing.simulation.algorithms import AlgorithmsWorld
from sdpatterns.testing.simulation.breaker import BreakerWorld
from sdpatterns.testing.simulation.idempotency import IdempotencyWorld
from sdpatterns.testing.simulation.jobs import JobsWorld
from sdpatterns.testing.simulation.limiter import LimiterWorld
from sdpatterns.testing.simulation.quota import QuotaWorld

__all__ = ["WORLDS", "main", "never_happened"]

WORLDS: dict[str, World] = {
    world.name: world
    for world in (
        LimiterWorld(),
        AlgorithmsWorld(),
        QuotaWorld(),
        IdempotencyWorld(),
        BreakerWorld(),
        JobsWorld(),
    )
}

_ENOUGH_SEEDS = 200
_VIOLATIONS_SHOWN = 10
_CHUNK = 50


def never_happened(world: World, counts: Counter[str], seeds: int) -> list[str]:
    """What this world should have seen in so many seeds, and did not; nothing for a few seeds."""
    if seeds < _ENOUGH_SEEDS:
        return []
    return [what for what in world.sometimes if not counts[what]]


def main(words: Sequence[str] | None = None) -> int:
    """0 when no promise was broken and everything that should happen did."""
    options = _parser().parse_args(words)
    results = [_one_world(WORLDS[name], options) for name in options.world or WORLDS]
    if options.out is not None:
        report = {
            "command": f"python -m sdpatterns.testing.simulation {' '.join(sys.argv[1:] if words is None else words)}",
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "worlds": results,
        }
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return int(any(result["violations"] or result["never_happened"] for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sdpatterns.testing.simulation", description=__doc__)
    parser.add_argument(
        "--world", action="append", choices=sorted(WORLDS), help="which (default: all); may be repeated"
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=_seed_range, default=range(1000), help="FIRST:LAST, last excluded (0:1000)")
    seeds.add_argument("--seed", type=lambda word: range(int(word), int(word) + 1), dest="seeds", help="one seed again")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes (1)")
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    return parser


def _seed_range(words: str) -> range:
    first, _, last = words.partition(":")
    return range(int(first), int(last))


def _one_world(world: World, options: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    counts: Counter[str] = Counter()
    broken: list[Outcome] = []
    with _outcomes(world, options.seeds, options.jobs) as outcomes:
        for outcome in outcomes:
            counts += outcome.counts
            if outcome.violations:
                broken.append(outcome)
                _complain(world, outcome, len(broken))
            if len(options.seeds) == 1:
                _say(f"{world.name} {outcome.seed}: digest {outcome.digest}, {dict(sorted(outcome.counts.items()))}")
    missing = never_happened(world, counts, len(options.seeds))
    seconds = time.monotonic() - began
    _say(f"{world.name}: {len(options.seeds)} seeds, {len(broken)} with violations, {seconds:.1f} s")
    for what in missing:
        _say(f"{world.name}: {what!r} never happened, so this run proves nothing about it")
    return {
        "world": world.name,
        "seeds": [options.seeds.start, options.seeds.stop],
        "violations": len(broken),
        "never_happened": missing,
        "seconds": round(seconds, 1),
        "happened": dict(sorted(counts.items())),
    }


@contextmanager
def _outcomes(world: World, seeds: Iterable[int], jobs: int) -> Iterator[Iterable[Outcome]]:
    play = partial(simulate, world)
    if jobs == 1:
        yield map(play, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield pool.imap(play, seeds, _CHUNK)


def _complain(world: World, outcome: Outcome, number: int) -> None:
    if number > _VIOLATIONS_SHOWN:
        return
    for violation in outcome.violations:
        _say(f"{world.name} seed {outcome.seed}: {violation}")
    _say(f"  replay: python -m sdpatterns.testing.simulation --world {world.name} --seed {outcome.seed}")


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
