"""Sixteen clients of one Postgres, each with a key of its own, whose every write wakes a topic.

python benchmarks/notify.py --before CHECKOUT [--rounds N] [--clients N]

`none` writes without a topic. `before` runs the code of another checkout: of commit 6ad0f43 or earlier, where NOTIFY
was part of the write. `now` runs this one. Each case in each round is a process of its own; they take turns. The server
waits for the disk (`fsync=on`), because what is measured is how long commits wait for each other.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from harness import interleaved, report

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Add
from sdpatterns.testing.postgres import postgres_process

SECONDS = 2.0
PACKAGES = ["sdpatterns", "sqlalchemy", "asyncpg"]


async def load(url: str, clients: int, *, wakes: bool) -> float:
    """Seconds per write, of all clients together."""
    done = 0
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(SQLBackend(url, timeout_s=60.0)) for _ in range(clients)]
        await backends[0].create()
        steps = [Add(wake=(f"inbox/{place}#1",) if wakes else ()) for place in range(clients)]
        cells = [backend.states.cells(Space("notify", IntegersCodec())) for backend in backends]

        async def write(place: int, until: float) -> None:
            nonlocal done
            while time.perf_counter() < until:
                await cells[place].transact(f"k{place}", steps[place])
                done += 1

        await asyncio.gather(*(write(place, time.perf_counter() + 0.3) for place in range(clients)))
        async with backends[0].signals.subscribe("inbox/0#1"):
            done, began = 0, time.perf_counter()
            await asyncio.gather(*(write(place, began + SECONDS) for place in range(clients)))
            return (time.perf_counter() - began) / done


def measured(source: Path, url: str, clients: int, wakes: str) -> float:
    command = [sys.executable, __file__, "--one", url, str(clients), wakes]
    environment = os.environ | {"PYTHONPATH": str(source / "src")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    if sys.argv[1] == "--one":
        sys.stdout.write(str(asyncio.run(load(sys.argv[2], int(sys.argv[3]), wakes=sys.argv[4] == "wakes"))))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path, required=True, help="a checkout of commit 6ad0f43 or earlier")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=16)
    asked = parser.parse_args()
    here = Path(__file__).parents[1]
    with postgres_process(durable=True) as (_, given):
        url = given.replace("postgresql:", "postgresql+asyncpg:")
        cases = {
            "none": partial(measured, here, url, asked.clients, "none"),
            "before": partial(measured, asked.before.resolve(), url, asked.clients, "wakes"),
            "now": partial(measured, here, url, asked.clients, "wakes"),
        }
        found = interleaved(cases, asked.rounds)
    report(f"notify_{asked.clients}_clients", found, "none", PACKAGES)


if __name__ == "__main__":
    main()
