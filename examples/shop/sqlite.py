"""A context's data in a SQLite file: one writer per process, a few readers, checked before anybody relies on it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shop.failures import StartFailed

SCHEMA_VERSION = 2
FIX = "move the data directory away or choose another with --data-dir"
# How long a writer waits for those of other processes.
_BUSY_TIMEOUT_S = 10.0


def url_of(path: Path) -> URL:
    """A file as SQLAlchemy names it."""
    return URL.create("sqlite+aiosqlite", database=str(path))


def engines(path: Path) -> tuple[AsyncEngine, AsyncEngine]:
    """A writer whose transactions are alone from their beginning, and readers that cannot write."""
    writer = _engine(path, connections_max=1, begin="BEGIN IMMEDIATE", query_only=False)
    return writer, _engine(path, connections_max=2, begin="BEGIN", query_only=True)


def _engine(path: Path, *, connections_max: int, begin: str, query_only: bool) -> AsyncEngine:
    engine = create_async_engine(
        url_of(path),
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
            connection.execute("PRAGMA journal_mode=WAL")
            version = _written_again(connection)
    except sqlite3.Error as error:
        raise StartFailed(f"cannot use {path}: {error}; {FIX}") from None
    if verdict != "ok":
        raise StartFailed(f"cannot use {path}: the file is damaged; {FIX}")
    return version


def _written_again(connection: sqlite3.Connection) -> int:
    """The version, written as it was: whoever can do that can write."""
    connection.execute("BEGIN IMMEDIATE")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.execute(f"PRAGMA user_version={version}")
    connection.execute("COMMIT")
    return version


def check_version(path: Path) -> None:
    """Refuse a file of another version of this shop, or of somebody else."""
    version = check(path)
    if version not in (0, SCHEMA_VERSION):
        raise StartFailed(f"cannot use {path}: its version {version} is unknown to this shop; {FIX}")
    with closing(sqlite3.connect(path)) as connection:  # ours get their version with their first table
        if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StartFailed(f"cannot use {path}: it was not made by this shop; {FIX}")
