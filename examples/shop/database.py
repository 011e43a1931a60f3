"""A context's own database, behind two verbs: a SQLite file, or a database on Postgres in a fleet."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from sqlalchemy import Executable, MetaData, Row, Table, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shop import postgres as on_postgres
from shop import sqlite as on_sqlite
from shop.failures import StartFailed
from shop.problems import Problem

_log = logging.getLogger("shop.database")
Storage: TypeAlias = Path | str
"""Where data lives: a SQLite file, or the URL of a database on Postgres."""
Rows: TypeAlias = Sequence[Row[Any]]
_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended(:about, 0))")


class Readers(Protocol):
    """What reads a database's rows."""

    def at_once(self, query: Executable) -> Rows | None:
        """The rows of one query without waiting for anything; None where it has to wait."""
        ...

    async def read(self, queries: Sequence[Executable]) -> list[Rows]:
        """The rows of each query, in one view of the data."""
        ...

    async def version(self) -> str:
        """A text that is another one after each change of the data; empty where it is not known."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Database:
    """A context's own data.

    Keeps: what a write has changed is on the disk when its block ends, all of it or nothing; writes about
    the same thing come one after another, in whatever process they run; a read never waits for a write.

    On SQLite all writers take turns (BEGIN IMMEDIATE) and the file is synchronous=FULL. On Postgres a
    write runs in READ COMMITTED, where an UPDATE judges its condition on the row as it is when it gets it;
    what reads first and then decides says what it is `about`, and has that to itself.
    """

    def __init__(self, storage: Storage) -> None:
        self._name = storage.name if isinstance(storage, Path) else on_postgres.name_of(storage)
        on_backend = on_sqlite if isinstance(storage, Path) else on_postgres
        self._writer = on_backend.writer(storage)
        self._readers: Readers = on_backend.Readers(storage)

    @asynccontextmanager
    async def write(self, about: str | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end of the block and rolls back on an exception.

        May fail: a disk that is full or locked, or a server that is away, is a Problem 503; the next write
        finds the data as it then is.
        """
        try:
            async with self._writer.begin() as connection:
                if about is not None and connection.dialect.name == "postgresql":
                    await connection.execute(_TURN, {"about": about})
                yield connection
        except IntegrityError:
            raise
        except (DBAPIError, OSError) as error:
            raise self._problem("cannot write", error) from error

    async def rows(self, query: Executable) -> Rows:
        """The rows of one query; a Problem 503 when the data cannot be read."""
        (rows,) = await self.read(query)
        return rows

    async def few(self, query: Executable) -> Rows:
        """The rows of a query for a few rows that an index finds, by the shortest way; else the same as `rows`.

        In a SQLite file that takes less time than a trip to a thread, so it is done in the loop.
        """
        found = self._readers.at_once(query)
        return await self.rows(query) if found is None else found

    async def read(self, *queries: Executable) -> list[Rows]:
        """The rows of each query, all from one consistent view of the data; a Problem 503 when there is none."""
        try:
            return await self._readers.read(queries)
        except (DBAPIError, OSError) as error:
            raise self._problem("cannot read", error) from error

    async def version(self) -> str:
        """A text that is another one after each change of the data, by any process; empty where it is not known."""
        try:
            return await self._readers.version()
        except (DBAPIError, OSError) as error:
            raise self._problem("cannot read", error) from error

    def _problem(self, what: str, error: Exception) -> Problem:
        _log.error(what, extra={"database": self._name, "reason": str(getattr(error, "orig", error))})
        return Problem(503, "storage-unavailable", "Nothing can be stored or read at the moment.", retry_after_s=5)

    @classmethod
    @asynccontextmanager
    async def opened(cls, storage: Storage, schema: MetaData) -> AsyncIterator[Database]:
        """The database, checked and with its tables; StartFailed names it when it cannot be used."""
        if isinstance(storage, Path):
            on_sqlite.check_version(storage)
        database = cls(storage)
        try:
            await database._prepare(schema)
            yield database
        finally:
            await database.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._readers.close()
        await self._writer.dispose()

    async def _prepare(self, schema: MetaData) -> None:
        try:
            async with self._writer.begin() as connection:
                await connection.run_sync(schema.create_all)
                if connection.dialect.name == "sqlite":
                    await connection.exec_driver_sql(f"PRAGMA user_version={on_sqlite.SCHEMA_VERSION}")
        except (DBAPIError, OSError) as error:
            reason: Any = getattr(error, "orig", error)
            raise StartFailed(f"cannot use {self._name}: {reason}; {on_sqlite.FIX}") from None


def insert_into(table: Table, connection: AsyncConnection) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can say what is to happen on a conflict, in the words of this database."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
