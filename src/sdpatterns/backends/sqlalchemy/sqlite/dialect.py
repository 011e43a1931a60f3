"""What SQLite understands, whatever the port: one file, and one writer at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.engine.dialect import Unit
from sdpatterns.backends.sqlalchemy.engine.transactions import Statement, Transaction

__all__ = ["SQLiteDialect", "data_version"]

_LOOK = Statement("PRAGMA data_version")


class SQLiteDialect:
    """See `Dialect`."""

    name = "sqlite"

    def __init__(self) -> None:
        self.shift_us = 0

    def begin(self, unit: Unit, /) -> str | None:
        """A reader needs no write lock; a writer takes it before it reads, so that nothing can come between."""
        return "BEGIN" if unit.reads else "BEGIN IMMEDIATE"

    def begin_alone(self, connection: Connection, /) -> None:
        """Begin a transaction that waits for every other one begun like this."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def join(self, connection: Connection, /) -> None:
        """Make sure that the caller's transaction has begun in the database as well."""
        if not connection.in_transaction():
            connection.begin()
        # Python's driver may not have begun yet; a savepoint alone would then be committed by its release.
        raw: Any = connection.connection.dbapi_connection
        driver: Any = connection.dialect.get_driver_connection(raw)
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def notify_at_commit(self, tx: Transaction, topics: Sequence[str], /) -> None:
        """Nothing: others see that the file has changed."""


async def data_version(tx: Transaction) -> int:
    """A number that changes when any other connection, here or in another process, has committed."""
    [[seen]] = await tx.fetch(_LOOK)
    return int(seen)
