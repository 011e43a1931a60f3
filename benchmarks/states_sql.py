"""Steps on stored state in SQL, beside the two ways in which one would write them by hand.

`row lock` is a transaction per step: SELECT … FOR UPDATE (SQLite: BEGIN IMMEDIATE, SELECT), then the
write. `versioned` reads and writes where the version is the same, again until it was. Both go
through the same drivers and SQLAlchemy. No library keeps such state in SQL, so there is no peer.

    python benchmarks/states_sql.py [rounds]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from harness import interleaved, report
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.step import Repeats, Step
from sdpatterns.ports.states import Space
from sdpatterns.testing import servers

Work = Callable[[str], Awaitable[object]]

LOADS = {"alone": (1, 1000), "32 tasks, one key": (32, 1), "32 tasks, 1,000 keys": (32, 1000)}
SECONDS = 0.5


class Count:
    """One more."""

    repeats: ClassVar[Repeats] = "unsafe"
    script = None

    def __call__(self, states: Sequence[tuple[int, ...] | None], now_us: int, /) -> Step[tuple[int, ...], int]:
        count = (states[0][0] if states[0] else 0) + 1
        return [(count, now_us)], count, [3600.0], ()


def engine_for(url: str) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=32)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine.sync_engine, "connect")
        def connect(connection: Any, _record: object) -> None:
            connection.isolation_level = None
            for pragma in ("journal_mode = wal", "synchronous = full", "busy_timeout = 20000"):
                cursor = connection.cursor()
                cursor.execute(f"PRAGMA {pragma}")
                cursor.close()

        @event.listens_for(engine.sync_engine, "begin")
        def begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


async def make(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE hand (key TEXT PRIMARY KEY, version BIGINT, state BIGINT)"))
        rows = [{"key": f"k{place}"} for place in range(1000)]
        await connection.execute(text("INSERT INTO hand VALUES (:key, 0, 0)"), rows)


async def row_lock(engine: AsyncEngine, key: str) -> None:
    held = "" if engine.dialect.name == "sqlite" else " FOR UPDATE"
    async with engine.begin() as connection:
        read = await connection.execute(text(f"SELECT state FROM hand WHERE key = :key{held}"), {"key": key})
        state = read.scalar_one() + 1
        await connection.execute(text("UPDATE hand SET state = :s WHERE key = :key"), {"key": key, "s": state})


async def versioned(engine: AsyncEngine, key: str) -> None:
    write = "UPDATE hand SET state = :s, version = version + 1 WHERE key = :key AND version = :v"
    while True:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            row = (
                await connection.execute(text("SELECT state, version FROM hand WHERE key = :key"), {"key": key})
            ).one()
            done = await connection.execute(text(write), {"key": key, "s": row[0] + 1, "v": row[1]})
            if done.rowcount:
                return


async def load(work: Work, tasks: int, keys: int) -> float:
    """Seconds per step."""
    done = 0
    until = time.perf_counter() + SECONDS

    async def task(place: int) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await work(f"k{(place * 37 + done) % keys}")
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(task(place) for place in range(tasks)))
    return (time.perf_counter() - began) / done


def measure(name: str, url: str, rounds: int) -> None:
    with asyncio.Runner() as runner:
        engine, backend = engine_for(url), SQLBackend(url)
        runner.run(make(engine))
        runner.run(backend.create())
        cells = backend.states.cells(Space("bench", IntegersCodec()))
        ways: dict[str, Work] = {
            "sdpatterns": lambda key: cells.transact(key, Count()),
            "row lock": partial(row_lock, engine),
            "versioned": partial(versioned, engine),
        }
        for title, (tasks, keys) in LOADS.items():
            cases = {
                way: partial(lambda work, t, k: runner.run(load(work, t, k)), work, tasks, keys)
                for way, work in ways.items()
                # Every losing writer starts again: with one key that measures only how they collide.
                if way != "versioned" or keys > 1
            }
            found = interleaved(cases, rounds)
            report(f"states_{name}_{title.replace(',', '').replace(' ', '_')}", found, "row lock", PACKAGES)
        runner.run(engine.dispose())
        runner.run(backend.__aexit__(None, None, None))


PACKAGES = ["sdpatterns", "sqlalchemy", "aiosqlite", "asyncpg"]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as directory:
        measure("sqlite", f"sqlite+aiosqlite:///{Path(directory)}/bench.db", rounds)
    with servers.postgres_server() as url:
        measure("postgres", url.replace("postgresql:", "postgresql+asyncpg:"), rounds)


if __name__ == "__main__":
    main()
