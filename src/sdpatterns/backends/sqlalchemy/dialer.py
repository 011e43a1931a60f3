"""Connections of one loop: made within a bound, dropped without a word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sdpatterns.backends.sqlalchemy.transactions import AsyncpgTransaction, Transaction

__all__ = ["Dialer", "Wire"]

T = TypeVar("T")


class Dialer:
    """Makes connections on one engine, and drops what a failed attempt leaves half made.

    SQLAlchemy 2.0 forgets a connection whose set-up fails; under asyncio nobody would ever close it, and
    a server that accepts and then says nothing would cost a socket per attempt.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._half_made: dict[asyncio.Task[Any] | None, Any] = {}
        event.listen(engine.sync_engine, "do_connect", self._connect)

    def _connect(self, dialect: Dialect, _record: object, args: Any, settings: Any) -> Any:
        connection = dialect.connect(*args, **settings)
        self._half_made[asyncio.current_task()] = dialect.get_driver_connection(connection)
        return connection

    async def dial(self) -> Wire:
        """A connection from the pool, which commits each statement by itself."""
        task = asyncio.current_task()
        try:
            connection = await self.engine.connect()
        except BaseException:
            half_made = self._half_made.get(task)
            if half_made is not None:
                half_made.terminate()
            raise
        finally:
            self._half_made.pop(task, None)
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        raw: Any = (await connection.get_raw_connection()).dbapi_connection
        return Wire(connection, connection.dialect.get_driver_connection(raw))


class Wire:
    """A connection and the driver's own, which SQLAlchemy forgets when it gives a broken one up."""

    def __init__(self, connection: AsyncConnection, driver: Any) -> None:
        self.connection = connection
        self.driver = driver
        self._tx = AsyncpgTransaction(driver)

    async def run(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run the work on the driver's connection; a failure drops it."""
        try:
            return await work(self._tx)
        except BaseException:
            await self.abandon()
            raise

    async def run_sync(self, work: Callable[[Connection], T]) -> T:
        """Run blocking work on SQLAlchemy's connection; a failure drops it."""
        try:
            return await self.connection.run_sync(work)
        except BaseException:
            await self.abandon()
            raise

    async def abandon(self) -> None:
        """Drop it at once, whatever it is doing: no farewell that could hang."""
        self.driver.terminate()
        with contextlib.suppress(SQLAlchemyError):
            await self.connection.invalidate()
        with contextlib.suppress(SQLAlchemyError):
            await self.connection.close()

    async def close(self) -> None:
        """Give it back, or close it where it was detached from the pool."""
        await self.connection.close()
