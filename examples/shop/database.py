"""One SQLite file per context: one writer, a few readers, checked before anybody relies on it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import URL, MetaData, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shop.failures import StartFailed
from shop.problems import Problem

_log = logging.getLogger("shop.database")
SCHEMA_VERSION = 2
_BUSY_TIMEOUT_S = 10.0


class Database:
    """A context's own SQLite file.

    Keeps: a write runs in BEGIN IMMEDIATE and is on the disk (synchronous=FULL) when its block ends;
    a read never waits for a write (WAL) and cannot write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = _engine(path, connections_max=1, begin="BEGIN IMMEDIATE", query_only=False)
        self._reader = _engine(path, connections_max=2, begin="BEGIN", query_only=True)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end of the block and rolls back on an exception.

        May fail: a disk that is full or locked is a Problem 503, and the next write finds it as it then is.
        """
        try:
            async with self._writer.begin() as connection:
                yield connection
        except OperationalError as error:
            _log.error("cannot write", extra={"file": self.path.name, "reason": str(error.orig)})
            raise Problem(
                503, "storage-unavailable", "Nothing can be stored at the moment.", retry_after_s=5
            ) from error

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A consistent view of the data."""
        return self._reader.begin()

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path, schema: MetaData) -> AsyncIterator[Database]:
        """The database, checked and with its tables; StartFailed names the file when it cannot be used."""
        _check_version(path)
        database = cls(path)
        try:
            await database._prepare(schema)
            yield database
        finally:
            await database._reader.dispose()
            await database._writer.dispose()

    async def _prepare(self, schema: MetaData) -> None:
        try:
            async with self._writer.begin() as connection:
                await connection.run_sync(schema.create_all)
                await connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
        except OperationalError as error:
            raise StartFailed(f"cannot use {self.path}: {error.orig}; {_FIX}") from None


def _engine(path: Path, *, connections_max: int, begin: str, query_only: bool) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        pool_size=connections_max,
        max_overflow=0,
        pool_timeout=30.0,
        async_creator=lambda: _connected(path),
    )

    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, so that a writer is one from the start
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA query_only={'ON' if query_only else 'OFF'}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


async def _connected(path: Path) -> aiosqlite.Connection:
    # A deadline may strike while a thread opens the file: the thread finishes, and so must we, or
    # nobody would close what it has opened.
    opening = asyncio.ensure_future(aiosqlite.connect(path, timeout=_BUSY_TIMEOUT_S).__aenter__())
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await (await opening).close()
        raise


def check(path: Path) -> int:
    """Refuse a file that is damaged or not writable, before any service starts; gives its version."""
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA user_version={version}")
    except sqlite3.Error as error:
        raise StartFailed(f"cannot use {path}: {error}; {_FIX}") from None
    if verdict != "ok":
        raise StartFailed(f"cannot use {path}: the file is damaged; {_FIX}")
    return version


def _check_version(path: Path) -> None:
    version = check(path)
    if version not in (0, SCHEMA_VERSION):
        raise StartFailed(f"cannot use {path}: its version {version} is unknown to this shop; {_FIX}")
    with closing(sqlite3.connect(path)) as connection:  # ours get their version with their first table
        if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StartFailed(f"cannot use {path}: it was not made by this shop; {_FIX}")


_FIX = "move the data directory away or choose another with --data-dir"
