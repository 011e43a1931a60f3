"""The shop's SQLite files: what a cancelled caller leaves behind."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import Column, Executable, Integer, MetaData, Row, Table, func, insert, select

from shop.database import Database
from shop.problems import Problem
from shop.sqlite import Readers

pytestmark = pytest.mark.anyio

SCHEMA = MetaData()
ROWS = Table("rows", SCHEMA, Column("number", Integer, primary_key=True))
TRIPS = 4  # to the thread: begin, two statements, commit


async def test_a_caller_cancelled_while_a_file_is_opened_leaves_it_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect
    begun, may_go_on = threading.Event(), threading.Event()

    def noted(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        begun.set()
        assert may_go_on.wait(10)
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    async with Database.opened(tmp_path / "a.db", SCHEMA):
        pass
    database = Database(tmp_path / "a.db")
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", noted)
        for ask in (database.write().__aenter__, lambda: database.rows(select(ROWS))):
            begun.clear()
            may_go_on.clear()
            caller = asyncio.ensure_future(ask())
            await asyncio.to_thread(begun.wait, 10)
            caller.cancel()
            may_go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await caller
    assert await database.rows(select(ROWS)) == []  # the connection whose caller was cancelled is still usable
    await database.close()
    assert len(opened) == 2
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.total_changes  # noqa: B018 - asked for its refusal


async def test_several_queries_see_one_state_of_the_data(tmp_path: Path) -> None:
    count = select(func.count()).select_from(ROWS)
    async with Database.opened(tmp_path / "a.db", SCHEMA) as database:
        first, last = 0, 0
        while first < 20:
            reading = asyncio.create_task(database.read(*[count] * 50))
            await _two_rows(database, last := last + 1)
            found = {number for ((number,),) in await reading}
            assert len(found) == 1
            first = found.pop()


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    async with Database.opened(tmp_path / "a.db", SCHEMA) as database:
        with pytest.raises(Problem):
            await database.rows(insert(ROWS).values(number=1))
        assert await database.rows(select(ROWS)) == []


async def test_a_few_rows_are_read_in_the_loop_unless_that_would_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database.opened(tmp_path / "a.db", SCHEMA) as database:
        await _two_rows(database, 1)
        assert [row.number for row in await database.few(select(ROWS))] == [-1, 1]
        await _two_rows(database, 2)
        trips: list[str] = []

        def refuse(*_: object) -> None:
            trips.append("thread")
            raise AssertionError

        with monkeypatch.context() as patched:
            patched.setattr(database._readers, "read", refuse)
            assert len(await database.few(select(ROWS))) == 4
            assert trips == []
            with pytest.raises(AssertionError):
                await database.few(insert(ROWS).values(number=1))  # refused here, so it goes where all reads go
        assert trips == ["thread"]
        with pytest.raises(Problem):
            await database.few(insert(ROWS).values(number=1))
        assert len(await database.few(select(ROWS))) == 4


async def test_a_few_rows_of_a_locked_file_are_waited_for_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    async with Database.opened(path, SCHEMA) as database:
        await _two_rows(database, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")  # in WAL no reader ever waits for a writer
        database = Database(path)
        readers = database._readers
        assert isinstance(readers, Readers)
        read = readers.read
        trips: list[str] = []

        async def read_once_it_is_free(queries: Sequence[Executable]) -> list[Sequence[Row[Any]]]:
            trips.append("thread")
            other.execute("ROLLBACK")
            return await read(queries)

        monkeypatch.setattr(readers, "read", read_once_it_is_free)
        assert len(await database.few(select(ROWS))) == 2
        assert trips == []
        other.execute("BEGIN EXCLUSIVE")
        assert len(await database.few(select(ROWS))) == 2
        assert trips == ["thread"]
        assert len(await database.few(select(ROWS))) == 2  # and in the loop again, once it is free
        assert trips == ["thread"]
        assert readers._here is not None
        assert readers._here.exec_driver_sql("PRAGMA busy_timeout").scalar() == 0  # the loop does not wait at all
        await database.close()


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


async def test_a_write_cancelled_at_any_await_is_complete_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[tuple[bool, int]] = []
    async with Database.opened(tmp_path / "a.db", SCHEMA) as database, asyncio.timeout(120):
        for trip in range(1, TRIPS + 2):
            with _cancelling_at(trip, monkeypatch) as doomed:
                doomed.append(asyncio.create_task(_two_rows(database, trip)))
                await asyncio.wait(doomed)
            await _two_rows(database, 1_000 + trip)  # the connection, the only one that writes, is still usable
            ((own,),) = await database.rows(select(func.count()).where(func.abs(ROWS.c.number) == trip))
            left.append((doomed[0].cancelled(), own))
    *statements, commit, beyond = left
    assert statements == [(True, 0)] * (TRIPS - 1)
    assert commit in [(True, 0), (True, 2)]  # it may have been done or not
    assert beyond == (False, 2)
