"""Steps of sagas beside DBOS, on SQLite and on Postgres: runs of ten steps that do nothing.

    python benchmarks/sagas.py [--rounds 5]

Both remember each step in the same database before the next one begins. One run at a time shows what a step costs its
caller; fifty at once show what a worker does in a second. A case gives the seconds for each step.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID
from harness import interleaved, report

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.messaging.saga import SagaRun, Sagas, SagaWorker
from sdpatterns.testing.servers import postgres_server

PACKAGES = ("sdpatterns", "dbos", "sqlalchemy", "asyncpg", "psycopg")
STEPS = 10
AT_ONCE = 50
_numbers = itertools.count()


async def nothing(number: int) -> int:
    """What a step does."""
    return number


@DBOS.step()
async def nothing_by_dbos(number: int) -> int:
    """The same as a step of DBOS."""
    return number


@DBOS.workflow()
async def workflow() -> int:
    """Ten steps, by DBOS."""
    for number in range(STEPS):
        await nothing_by_dbos(number)
    return STEPS


async def steps_of(run: SagaRun) -> int:
    """Ten steps, by us."""
    for number in range(STEPS):
        await run.step(f"step {number}", nothing, number)
    return STEPS


async def _timed(runs: int, at_once: int, one: Callable[[], Any]) -> float:
    """Seconds for each step of so many runs, some of them at once."""
    gate = asyncio.Semaphore(at_once)

    async def go() -> None:
        """One run, when it is its turn."""
        async with gate:
            assert await one() == STEPS

    began = time.perf_counter()
    await asyncio.gather(*(go() for _ in range(runs)))
    return (time.perf_counter() - began) / (runs * STEPS)


def ours(url: str, runs: int, at_once: int) -> float:
    """Seconds for each step of a saga."""

    async def measured() -> float:
        async with SQLBackend.from_url(url, timeout_s=60.0) as backend:
            await backend.create()
            sagas = Sagas(f"bench{next(_numbers)}", backend=backend)
            saga = sagas.saga(name="steps")(steps_of)

            async def one() -> int:
                return await (await saga.start()).result(timeout_s=120)

            async with SagaWorker(sagas, concurrency=at_once):
                await one()
                return await _timed(runs, at_once, one)

    return asyncio.run(measured())


def theirs(url: str, runs: int, at_once: int) -> float:
    """Seconds for each step of a workflow of DBOS."""
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()

    async def one() -> int:
        with SetWorkflowID(f"run-{next(_numbers)}"):
            handle = await DBOS.start_workflow_async(workflow)
        return int(await handle.get_result())

    async def measured() -> float:
        await one()
        return await _timed(runs, at_once, one)

    try:
        return asyncio.run(measured())
    finally:
        DBOS.destroy()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, postgres_server() as postgres:
        urls = {
            "SQLite": (f"sqlite+aiosqlite:///{Path(folder) / 'ours.db'}", f"sqlite:///{Path(folder) / 'theirs.db'}"),
            "Postgres": (
                postgres.replace("postgresql://", "postgresql+asyncpg://"),
                postgres.replace("postgresql://", "postgresql+psycopg://"),
            ),
        }
        for store, (mine, peer) in urls.items():
            for told, runs, at_once in (("alone", 10, 1), ("50 at once", 100, AT_ONCE)):
                cases = {
                    "sdpatterns": lambda mine=mine, runs=runs, at_once=at_once: ours(mine, runs, at_once),
                    "DBOS": lambda peer=peer, runs=runs, at_once=at_once: theirs(peer, runs, at_once),
                }
                name = f"sagas_{store.lower()}_{'alone' if at_once == 1 else 'at_once'}"
                print(f"{store}, {told}")
                report(name, interleaved(cases, rounds), "DBOS", PACKAGES)


if __name__ == "__main__":
    main()
