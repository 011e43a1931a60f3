"""The shop's SQLite files: what a cancelled caller leaves behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select

from shop.database import Database

pytestmark = pytest.mark.anyio

SCHEMA = MetaData()
ROWS = Table("rows", SCHEMA, Column("number", Integer, primary_key=True))
TRIPS = 4  # to the thread: begin, two statements, commit


async def test_a_caller_cancelled_while_a_file_is_opened_leaves_it_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    reading = asyncio.Event()
    connect = aiosqlite.core.sqlite3.connect

    def noted(*args: object, **kwargs: object) -> sqlite3.Connection:
        loop.call_soon_threadsafe(reading.set)
        opened.append(connect(*args, **kwargs))  # type: ignore[call-overload]
        return opened[-1]

    loop = asyncio.get_running_loop()
    async with Database.opened(tmp_path / "a.db", MetaData()) as database:
        monkeypatch.setattr(aiosqlite.core.sqlite3, "connect", noted)
        caller = asyncio.ensure_future(database.read().__aenter__())
        await reading.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        monkeypatch.undo()
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].total_changes  # noqa: B018 - asked for its refusal


async def _two_rows(database: Database, number: int) -> None:
    async with database.write() as connection:
        await connection.execute(insert(ROWS).values(number=number))
        await connection.execute(insert(ROWS).values(number=-number))


@contextmanager
def _cancelling_at(trip: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[asyncio.Task[None]]]:
    """Cancels the task it is given while its nth piece of work is with the connection's thread."""
    execute = aiosqlite.Connection._execute
    trips = itertools.count(1)
    doomed: list[asyncio.Task[None]] = []

    async def execute_and_cancel(self: aiosqlite.Connection, *work: Any) -> Any:
        if next(trips) == trip:
            asyncio.get_running_loop().call_soon(doomed[0].cancel)
        return await execute(self, *work)  # type: ignore[no-untyped-call]

    with monkeypatch.context() as patched:
        patched.setattr(aiosqlite.Connection, "_execute", execute_and_cancel)
        yield doomed


async def test_a_write_cancelled_at_any_await_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[tuple[bool, int]] = []
    async with Database.opened(tmp_path / "a.db", SCHEMA) as database, asyncio.timeout(30):
        for trip in range(1, TRIPS + 2):
            with _cancelling_at(trip, monkeypatch) as doomed:
                doomed.append(asyncio.create_task(_two_rows(database, trip)))
                await asyncio.wait(doomed)
            await _two_rows(database, 1_000 + trip)  # the connection, the only one that writes, is of use
            async with database.read() as connection:
                own = select(func.count()).where(func.abs(ROWS.c.number) == trip)
                left.append((doomed[0].cancelled(), (await connection.execute(own)).scalar_one()))
    *statements, commit, beyond = left
    assert statements == [(True, 0)] * (TRIPS - 1)
    assert commit in [(True, 0), (True, 2)]  # nobody can tell whether it was done
    assert beyond == (False, 2)
