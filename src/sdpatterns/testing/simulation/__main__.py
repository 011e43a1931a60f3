"""Run many seeds of a world, or one of them again."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sdpatterns.testing.simulation import Outcome, World, simulate
from sdpatterns.testing.simulation.shrink import shrink
from sdpatterns.testing.simulation.worlds import WORLDS, named_world

__all__ = ["WORLDS", "main", "never_happened"]

_PROGRAM = "python -m sdpatterns.testing.simulation"
_ENOUGH_SEEDS = 200
_VIOLATIONS_SHOWN = 10
_SHRUNK_AT_ONCE = 3
_CHUNK = 50


def never_happened(world: World, counts: Counter[str], seeds: int) -> list[str]:
    """What this world should have seen in so many seeds, and did not; nothing for a few seeds."""
    if seeds < _ENOUGH_SEEDS:
        return []
    return [what for what in world.sometimes if not counts[what]]


def main(words: Sequence[str] | None = None) -> int:
    """0 when no promise was broken and everything that should happen did."""
    options = _parser().parse_args(words)
    results = [_one_world(name, options) for name in options.world or WORLDS]
    if options.out is not None:
        report = {
            "command": f"{_PROGRAM} {' '.join(sys.argv[1:] if words is None else words)}",
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "worlds": results,
        }
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return int(any(result["violations"] or result["never_happened"] for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument(
        "--world", action="append", help=f"{', '.join(sorted(WORLDS))}, or module:Class (all of ours); may be repeated"
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=_seed_range, default=range(1000), help="FIRST:LAST, last excluded (0:1000)")
    seeds.add_argument("--seed", type=lambda word: range(int(word), int(word) + 1), dest="seeds", help="one seed again")
    parser.add_argument("--faults", type=_names, help="with --seed: let only these faults strike, separated by commas")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes (1)")
    parser.add_argument("--until", type=int, help="stop after so many seeds that broke a promise")
    parser.add_argument("--for", type=float, dest="seconds", help="stop after so many seconds, and say how far it came")
    parser.add_argument("--no-shrink", action="store_true", help="do not look for the fewest faults that still fail")
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    return parser


def _seed_range(words: str) -> range:
    first, _, last = words.partition(":")
    return range(int(first), int(last))


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split(",")) - {""}


def _one_world(name: str, options: argparse.Namespace) -> dict[str, Any]:
    world, began = named_world(name), time.monotonic()
    counts: Counter[str] = Counter()
    seeds = broken = 0
    with _outcomes(world, options) as outcomes:
        for outcome in outcomes:
            seeds += 1
            counts += outcome.counts
            if outcome.violations:
                broken += 1
                _complain(name, world, outcome, broken, options)
            if len(options.seeds) == 1:
                _tell(world, outcome)
            if broken == options.until or _is_late(began, options):
                break
    missing = never_happened(world, counts, seeds)
    seconds = time.monotonic() - began
    _say(f"{world.name}: {seeds} seeds, {broken} with violations, {seconds:.1f} s")
    for what in missing:
        _say(f"{world.name}: {what!r} never happened, so this run proves nothing about it")
    return {
        "world": world.name,
        "seeds": [options.seeds.start, options.seeds.start + seeds],
        "violations": broken,
        "never_happened": missing,
        "seconds": round(seconds, 1),
        "happened": dict(sorted(counts.items())),
    }


def _is_late(began: float, options: argparse.Namespace) -> bool:
    return options.seconds is not None and time.monotonic() - began >= options.seconds


@contextmanager
def _outcomes(world: World, options: argparse.Namespace) -> Iterator[Iterable[Outcome]]:
    play = partial(simulate, world, only=options.faults)
    if options.jobs == 1:
        yield map(play, options.seeds)
        return
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        yield pool.imap(play, options.seeds, _CHUNK)


def _complain(name: str, world: World, outcome: Outcome, number: int, options: argparse.Namespace) -> None:
    if number > _VIOLATIONS_SHOWN:
        return
    for violation in outcome.violations:
        _say(f"{world.name} seed {outcome.seed}: {violation}")
    replay = f"{_PROGRAM} --world {name} --seed {outcome.seed}"
    _say(f"  replay: {replay}")
    if not outcome.faults or options.no_shrink or options.faults is not None or number > _SHRUNK_AT_ONCE:
        return
    fewest, runs = shrink(world, outcome)
    _say(f"  {len(fewest.faults)} of {len(outcome.faults)} faults are enough, by {runs} runs:")
    for fault in fewest.faults:
        _say(f"    {fault.at_s:10.6f} s  {fault.name}")
    names = ",".join(fault.name for fault in fewest.faults)
    _say(f"  replay with these alone: {replay} --faults {shlex.quote(names)}")


def _tell(world: World, outcome: Outcome) -> None:
    _say(f"{world.name} {outcome.seed}: digest {outcome.digest}, {dict(sorted(outcome.counts.items()))}")
    for fault in outcome.faults:
        _say(f"  {fault.at_s:10.6f} s  {fault.name}")


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
