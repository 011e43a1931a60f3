"""The connections of one loop, through asyncpg: made with a time limit, and closed without a reply when they broke."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sdpatterns.backends.sqlalchemy.engine.connections import APART_MAX
from sdpatterns.backends.sqlalchemy.engine.dialect import Announce, Unit, run_unit, say_nothing
from sdpatterns.backends.sqlalchemy.engine.migrations import check_schema
from sdpatterns.backends.sqlalchemy.engine.transactions import AsyncpgTransaction, Transaction
from sdpatterns.backends.sqlalchemy.postgres.dialect import PostgresDialect, prepare
from sdpatterns.ports.pressure import Usage

__all__ = ["AsyncpgConnection", "ConnectionFactory", "LoopConnections"]

T = TypeVar("T")


class ConnectionFactory:
    """Makes connections on one engine, and drops what a failed attempt leaves half made.

    SQLAlchemy 2.0 forgets a connection whose set-up fails; under asyncio nothing would ever close it, and
    a server that accepts and then says nothing would cost a socket per attempt.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._half_made: dict[asyncio.Task[Any] | None, Any] = {}
        event.listen(engine.sync_engine, "do_connect", self._connect)

    def _connect(self, dialect: Dialect, _record: object, args: Any, settings: Any) -> Any:
        connection = dialect.connect(*args, **settings)
        # By task, because several may connect at once and each cleans up after itself.
        self._half_made[asyncio.current_task()] = dialect.get_driver_connection(connection)
        return connection

    async def connect(self) -> AsyncpgConnection:
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
        # Kept here, because a connection that SQLAlchemy invalidated gives its driver's no more.
        raw: Any = (await connection.get_raw_connection()).dbapi_connection
        return AsyncpgConnection(connection, connection.dialect.get_driver_connection(raw))


class AsyncpgConnection:
    """A connection and the driver's own, which SQLAlchemy forgets when it gives a broken one up."""

    def __init__(self, connection: AsyncConnection, driver: Any) -> None:
        self.connection = connection
        self.driver = driver
        self.tx = AsyncpgTransaction(driver)

    async def run(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run the work on the driver's connection; a failure drops it."""
        try:
            return await work(self.tx)
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
        """Drop it at once, whatever it is doing. To say goodbye to a server could take without end."""
        self.driver.terminate()
        with contextlib.suppress(SQLAlchemyError):
            await self.connection.invalidate()
        with contextlib.suppress(SQLAlchemyError):
            await self.connection.close()

    async def close(self) -> None:
        """Give it back, or close it where it was detached from the pool."""
        await self.connection.close()


class LoopConnections:
    """See `Connections`. For one asyncio loop."""

    waits_for_rows = True

    def __init__(
        self,
        factory: ConnectionFactory,
        dialect: PostgresDialect,
        shown: str,
        timeout_s: float,
        announce: Announce = say_nothing,
    ) -> None:
        self.shown = shown
        self.usage = Usage()
        self.factory = factory
        self._dialect = dialect
        self._announce = announce
        self.timeout_s = timeout_s
        self._kept: AsyncpgConnection | None = None
        self._apart = asyncio.Semaphore(APART_MAX)

    @property
    def capacity(self) -> int:
        """The one that is kept, and those beside it."""
        return 1 + APART_MAX

    async def run(self, unit: Unit, /) -> None:
        """Run the unit on the one connection that is kept for that; one unit at a time."""
        kept = self._kept
        unit.fresh = kept is None
        try:
            async with asyncio.timeout(self.timeout_s):
                if kept is None:
                    kept = await self._open()
                # Not through `kept.run`: each coroutine between here and the driver is resumed for each reply.
                await run_unit(self._dialect, kept.tx, unit, self._announce)
        except BaseException:
            # Also after a cancellation, because a reply may still be on its way: the next unit makes another.
            self._kept = None
            if kept is not None:
                await kept.abandon()
            raise

    async def run_apart(self, unit: Unit, /) -> None:
        """Run it on a connection of its own, where it may wait for a row. At most four at once."""
        # Twice: a row may be waited for as long as `lock_timeout` says.
        async with self._apart, asyncio.timeout(2 * self.timeout_s):
            connection = await self._connected()
            await connection.run(lambda tx: run_unit(self._dialect, tx, unit, self._announce))
            await connection.close()

    def is_moving(self) -> bool:
        return True

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        async with asyncio.timeout(6 * self.timeout_s):
            connection = await self._connected()
            result = await connection.run_sync(task)
            await connection.close()
            return result

    async def close(self) -> None:
        """Close every connection; the next unit makes a new one."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.close()
        await self.factory.engine.dispose()

    async def _connected(self) -> AsyncpgConnection:
        async with asyncio.timeout(self.timeout_s):
            return await self.factory.connect()

    async def _open(self) -> AsyncpgConnection:
        connection = await self.factory.connect()
        await connection.run_sync(_keep)
        await connection.run(prepare)
        self._kept = connection
        return connection


def _keep(connection: Connection) -> None:
    # Out of the pool, because its settings are its own: see `prepare`.
    connection.detach()
    check_schema(connection)
