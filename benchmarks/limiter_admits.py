"""What each algorithm of the limiter lets pass of the same traffic, in virtual time.

    python benchmarks/limiter_admits.py

prints the table, and keeps for the plot when each request came and which passed, in
`results/limiter_admits.json`: no clock and no chance, so the same on every machine.

The limit is 10 a second. The traffic comes in five stretches after an idle hour. The table says how
many of each pass, and the most that passed in any one second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdpatterns import RateLimiter, per_second
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.traffic.ratelimit import (
    GCRA,
    Algorithm,
    FixedWindow,
    LeakyBucket,
    SlidingCounter,
    SlidingLog,
)

ALGORITHMS: Sequence[Algorithm] = (GCRA(), LeakyBucket(), FixedWindow(), SlidingLog(), SlidingCounter())
COUNT = 10
TICKS = 1_000_000  # of a second

# What the stretch is called, where it begins and ends in seconds, and how many come, evenly spread.
TRAFFIC = (
    ("30 at once", 0.9, 0.9, 30),
    ("30 at once, 0.2 s later", 1.1, 1.1, 30),
    ("10 a second for 5 s", 10.0, 15.0, 50),
    ("50 a second for 5 s", 20.05, 25.05, 250),
    ("20 in the last 0.1 s of a second", 30.9, 31.0, 20),
    ("20 in the first 0.1 s of the next", 31.0, 31.1, 20),
)

# What the plot shows: a name, from when to when, and which of the stretches.
SCENES = (
    ("30 on each side", 0.8, 1.2, (0, 1)),
    ("10 a second", 9.5, 15.5, (2,)),
    ("50 a second", 19.5, 25.5, (3,)),
    ("20 on each side", 30.85, 31.15, (4, 5)),
)
PLACE = Path(__file__).parent / "results" / "limiter_admits.json"


def arrivals() -> list[tuple[int, int]]:
    """When each request comes, in microseconds, and in which stretch."""
    return [
        (round((begin_s + (end_s - begin_s) * number / count) * TICKS), stretch)
        for stretch, (_, begin_s, end_s, count) in enumerate(TRAFFIC)
        for number in range(count)
    ]


def passed(algorithm: Algorithm) -> list[tuple[int, int]]:
    """Those of them that the algorithm lets pass."""
    with VirtualClock() as clock:
        # From the edge of a second on, so that the windows of the clock are those of the table.
        clock.advance((3600 * TICKS - clock.now_us() % TICKS) / TICKS)
        limiter, now_us, found = RateLimiter("table", per_second(COUNT), algorithm=algorithm), 0, []
        for at_us, stretch in arrivals():
            clock.advance((at_us - now_us) / TICKS)
            now_us = at_us
            if limiter.acquire_now("x").allowed:
                found.append((at_us, stretch))
    return found


def row(algorithm: Algorithm) -> list[int]:
    """How many passed in each stretch, and the most in any second."""
    found = passed(algorithm)
    each = [sum(stretch == number for _, stretch in found) for number in range(len(TRAFFIC))]
    return [*each, max(sum(start <= at < start + TICKS for at, _ in found) for start, _ in found)]


def table() -> str:
    """The rows as a table, a column for each algorithm."""
    names = [type(algorithm).__name__ for algorithm in ALGORITHMS]
    columns = [row(algorithm) for algorithm in ALGORITHMS]
    whats = [*(f"{what} ({count})" for what, _, _, count in TRAFFIC), "most in any second"]
    lines = [f"| requests | {' | '.join(f'`{name}`' for name in names)} |", f"|---|{'---:|' * len(names)}"]
    for number, what in enumerate(whats):
        lines.append(f"| {what} | {' | '.join(str(column[number]) for column in columns)} |")
    return "\n".join(lines)


def facts() -> dict[str, Any]:
    """What came, and what each algorithm let pass of it."""
    each = {type(algorithm).__name__: passed(algorithm) for algorithm in ALGORITHMS}
    scenes = [
        {
            "name": name,
            "shown_s": [begin_s, end_s],
            "arrivals_s": _seconds(arrivals(), stretches),
            "passed_s": {algorithm: _seconds(found, stretches) for algorithm, found in each.items()},
        }
        for name, begin_s, end_s, stretches in SCENES
    ]
    return {"command": "python benchmarks/limiter_admits.py", "count": COUNT, "algorithms": [*each], "scenes": scenes}


def _seconds(found: Sequence[tuple[int, int]], stretches: Sequence[int]) -> list[float]:
    return [at_us / TICKS for at_us, stretch in found if stretch in stretches]


if __name__ == "__main__":
    print(table())
    PLACE.write_text(json.dumps(facts()) + "\n")
