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
_KEPT_EACH = 100


def never_happened(world: World, counts: Counter[str], seeds: int) -> list[str]:
    """What this world should have seen in so many seeds, and did not; nothing for a few seeds."""
    if seeds < _ENOUGH_SEEDS:
        return []
    return [what for what in world.sometimes if not counts[what]]


def main(words: Sequence[str] | None = None) -> int:
    """0 when no promise was broken and everything that should happen did."""
    parser = _parser()
    options = parser.parse_args(words)
    if options.resume and options.out is None:
        parser.error("--resume needs --out: the file that it goes on from")
    options.command = f"{_PROGRAM} {' '.join(sys.argv[1:] if words is None else words)}"
    results = _results_so_far(options)
    for name in options.world or WORLDS:
        for tally in _one_world(name, results.get(named_world(name).name), options):
            results[tally.world.name] = tally.result()
            _write(results, options)
    return int(any(result["violations"] or result["never_happened"] for result in results.values()))


def _results_so_far(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    if not options.resume or not options.out.exists():
        return {}
    worlds: list[dict[str, Any]] = json.loads(options.out.read_text(encoding="utf-8"))["worlds"]
    return {result["world"]: result for result in worlds}


def _write(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    if options.out is None:
        return
    report = {
        "command": options.command,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "worlds": list(results.values()),
    }
    # Whole or not at all: it may be ended at any moment, and goes on from this file.
    beside = options.out.with_suffix(".part")
    beside.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    beside.replace(options.out)


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
    parser.add_argument(
        "--resume", action="store_true", help="go on after the seeds that this file has, and write it now and then"
    )
    return parser


def _seed_range(words: str) -> range:
    first, _, last = words.partition(":")
    return range(int(first), int(last))


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split(",")) - {""}


class _Tally:
    """What the seeds of a world brought so far: those of this run, and of earlier ones that it goes on from."""

    def __init__(self, world: World, first: int, known: dict[str, Any] | None) -> None:
        self.world = world
        self.first: int = known["seeds"][0] if known else first
        self.next: int = known["seeds"][1] if known else first
        self.broken: int = known["violations"] if known else 0
        self.counts: Counter[str] = Counter(known["happened"] if known else {})
        self.seconds_before: float = known["seconds"] if known else 0.0
        self.began_s = time.monotonic()

    @property
    def seeds(self) -> int:
        """How many seeds were run."""
        return self.next - self.first

    @property
    def missing(self) -> list[str]:
        """What should have happened, and did not."""
        return never_happened(self.world, self.counts, self.seeds)

    @property
    def seconds(self) -> float:
        """How long they took."""
        return self.seconds_before + time.monotonic() - self.began_s

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self.next += 1
        self.counts += outcome.counts
        self.broken += bool(outcome.violations)

    def result(self) -> dict[str, Any]:
        """As it is written down."""
        return {
            "world": self.world.name,
            "seeds": [self.first, self.next],
            "violations": self.broken,
            "never_happened": self.missing,
            "seconds": round(self.seconds, 1),
            "happened": dict(sorted(self.counts.items())),
        }


def _one_world(name: str, known: dict[str, Any] | None, options: argparse.Namespace) -> Iterator[_Tally]:
    """Run its seeds; gives the tally at the end, and now and then before it where that is to be kept."""
    world = named_world(name)
    tally = _Tally(world, options.seeds.start, known)
    seeds, broken = range(tally.next, options.seeds.stop), 0
    with _outcomes(world, seeds, options) as outcomes:
        for outcome in outcomes:
            tally.add(outcome)
            if outcome.violations:
                broken += 1
                _complain(name, world, outcome, broken, options)
            if len(options.seeds) == 1:
                _tell(world, outcome)
            if broken == options.until or _is_late(tally.began_s, options):
                break
            if options.resume and tally.next % _KEPT_EACH == 0:
                yield tally
    _say(f"{world.name}: {tally.seeds} seeds, {tally.broken} with violations, {tally.seconds:.1f} s")
    for what in tally.missing:
        _say(f"{world.name}: {what!r} never happened, so this run proves nothing about it")
    yield tally


def _is_late(began: float, options: argparse.Namespace) -> bool:
    return options.seconds is not None and time.monotonic() - began >= options.seconds


@contextmanager
def _outcomes(world: World, seeds: range, options: argparse.Namespace) -> Iterator[Iterable[Outcome]]:
    play = partial(simulate, world, only=options.faults)
    if options.jobs == 1:
        yield map(play, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        yield pool.imap(play, seeds, _CHUNK)


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
