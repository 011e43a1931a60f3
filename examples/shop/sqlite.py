"""A context's data in a SQLite file: one writer per process, a few readers, checked before the shop relies on it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

import aiosqlite
from sqlalchemy import URL, Connection, Executable, QueuePool, Row, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shop.failures import StartFailed

T = TypeVar("T")

SCHEMA_VERSION = 4
FIX = "move the data directory away or choose another with --data-dir"
# How long a writer waits for those of other processes.
_BUSY_TIMEOUT_S = 10.0
_READERS_MAX = 2
_DATA_VERSION = text("PRAGMA data_version")


def url_of(path: Path) -> URL:
    """A file as SQLAlchemy names it."""
    return URL.create("sqlite+aiosqlite", database=str(path))


def writer(path: Path) -> AsyncEngine:
    """A writer whose transactions are alone from their beginning."""
    engine = create_async_engine(
        url_of(path), pool_size=1, max_overflow=0, pool_timeout=30.0, async_creator=lambda: _connected(path)
    )
    event.listen(engine.sync_engine, "connect", lambda connection, _record: _prepare(connection))
    event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare(connection: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, so that a writer is one from the start
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


class Readers:
    """Threads with a connection each, which cannot write; a whole read is one trip to a thread and back.

    Small reads have a connection in the loop's own thread, which waits for nothing.

    Keeps: a read whose caller is cancelled ends in its thread, and the connection with it is whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = ThreadPoolExecutor(_READERS_MAX, thread_name_prefix=f"read {path.stem}")
        self._engine = create_engine(
            "sqlite://", creator=self._connected, poolclass=QueuePool, pool_size=_READERS_MAX + 1, max_overflow=0
        )
        self._here: Connection | None = None
        self._opening = uuid4().hex

    def at_once(self, query: Executable) -> Sequence[Row[Any]] | None:
        """The rows of one query, read in this thread; None where that would have to wait, or is not possible."""
        try:
            if self._here is None:
                self._here = self._engine.connect()
                self._here.exec_driver_sql("PRAGMA busy_timeout=0")
            return self._here.execute(query).all()
        except DBAPIError:
            return None

    async def version(self) -> str:
        """Counts the commits of all other connections, as this one sees them; so it is no other reader's."""
        found = self.at_once(_DATA_VERSION)
        return "" if found is None else f"{self._opening}/{found[0][0]}"

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
        _prepare(connection)
        connection.execute("PRAGMA query_only=ON")
        return connection

    async def read(self, queries: Sequence[Executable]) -> list[Sequence[Row[Any]]]:
        """The rows of each query, in one view of the data."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, queries)

    def _read(self, queries: Sequence[Executable]) -> list[Sequence[Row[Any]]]:
        with self._engine.connect() as connection:
            if len(queries) > 1:  # one alone is a view already
                connection.exec_driver_sql("BEGIN")
            return [connection.execute(query).all() for query in queries]

    async def close(self) -> None:
        """Close the connections, as soon as the last read has ended."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        if self._here is not None:
            self._here.close()
        self._engine.dispose()


async def _connected(path: Path) -> aiosqlite.Connection:
    # A deadline may strike while a thread opens the file: the thread finishes, and so must we, or
    # what it has opened would never be closed.
    opening = asyncio.ensure_future(_Connection(path).__aenter__())
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await (await opening).close()
        raise


class _Connection(aiosqlite.Connection):
    """A connection whose every statement is one trip to its thread and back.

    The library makes four of a query: a cursor, the statement, its rows, the end. Each of them waits for
    the interpreter, and meanwhile the file is locked.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(lambda: sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S), iter_chunk_size=64)
        self._adrift = False  # a caller stopped waiting for a trip that goes on

    async def trip(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do some work in the connection's thread."""
        adrift, self._adrift = self._adrift, True
        try:
            result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        except Exception:
            self._adrift = adrift
            raise
        self._adrift = False  # trips end in the order in which they began
        return result

    def cursor(self) -> Any:  # asked for by SQLAlchemy
        """A cursor for one statement."""
        return _Cursor(self)

    async def rollback(self) -> None:
        """Undo what was not committed, if there may be something: SQLAlchemy asks for it after a commit too."""
        if self._adrift or self.in_transaction:
            await self.trip(sqlite3.Connection.rollback)


class _Cursor:
    """What SQLAlchemy needs of a cursor; the rows are here as soon as the statement is done."""

    arraysize = 1

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, operation: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement and fetch what it gives."""
        await self._run(lambda connection: connection.execute(operation, parameters))

    async def executemany(self, operation: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row of parameters."""
        await self._run(lambda connection: connection.executemany(operation, parameters))

    async def _run(self, statement: Callable[[sqlite3.Connection], sqlite3.Cursor]) -> None:
        def work(connection: sqlite3.Connection) -> tuple[sqlite3.Cursor, list[Any]]:
            with closing(statement(connection)) as cursor:
                return cursor, cursor.fetchall()

        cursor, self._rows = await self._connection.trip(work)
        self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid

    async def fetchall(self) -> list[Any]:
        """The rows of the statement."""
        return self._rows

    async def close(self) -> None:
        """Forget the rows."""
        self._rows = []


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
    """The version, written back as it was: that succeeds only if the file can be written."""
    connection.execute("BEGIN IMMEDIATE")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.execute(f"PRAGMA user_version={version}")
    connection.execute("COMMIT")
    return version


def check_version(path: Path) -> None:
    """Refuse a file of another version of this shop, or of another program."""
    version = check(path)
    if version not in (0, SCHEMA_VERSION):
        raise StartFailed(f"cannot use {path}: its version {version} is unknown to this shop; {FIX}")
    with closing(sqlite3.connect(path)) as connection:  # ours get their version with their first table
        if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StartFailed(f"cannot use {path}: it was not made by this shop; {FIX}")


def check_keys(path: Path) -> None:
    """Refuse a file of another program where the library is to keep its tables; the library checks their version."""
    check(path)
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "sdp_schema" not in tables:
        raise StartFailed(f"cannot use {path}: it was not made by this shop; {FIX}")
