"""Cases measured turn by turn in one run, so that a busy machine is busy for all of them.

A case is a function that does its work once and gives seconds per operation. What is reported is
the median over all rounds, and, against the case it is compared with, the median of the ratios of
each round with their quartiles.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

Rounds = dict[str, list[float]]


def interleaved(cases: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Seconds per operation of every case in every round; each round begins with another case."""
    names = list(cases)
    found: Rounds = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(cases[name]())
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def ratio(found: Rounds, name: str, against: str) -> tuple[float, float, float]:
    """How many times as long `name` takes: median and quartiles of the rounds' ratios."""
    return quartiles([mine / theirs for mine, theirs in zip(found[name], found[against], strict=True)])


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


def report(
    title: str,
    found: Rounds,
    against: str,
    packages: Sequence[str],
    *,
    others: Mapping[str, str] | None = None,
    **more: Any,
) -> None:
    """Print the figures and keep them in `results/<title>.json`; `others` are versions in other environments."""
    facts = machine(packages)
    facts["versions"] |= others or {}
    print(f"{title}: {facts['python']}, {facts['system']}; " + ", ".join(map(" ".join, facts["versions"].items())))
    table: dict[str, Any] = {}
    for name, values in found.items():
        middle, low, high = ratio(found, name, against)
        each = statistics.median(values)
        table[name] = {"us_each": each * 1e6, "per_second": 1 / each, "ratio": middle, "ratio_quartiles": [low, high]}
        print(
            f"  {name:34} {each * 1e6:9.2f} us {1 / each:11,.0f}/s   {middle:6.2f}x of {against} ({low:.2f}–{high:.2f})"
        )
    for name, value in more.items():
        print(f"  {name}: {value}")
    RESULTS.mkdir(exist_ok=True)
    place = RESULTS / f"{title}.json"
    place.write_text(json.dumps({**facts, "against": against, "cases": table, **more}, indent=1) + "\n")
