"""How this process hears of the notifications of other clients: LISTEN, with both drivers.

When to open a connection that listens and what to do when it breaks is the business of
`sdpatterns.ports.engine.listener`; here stands only how the drivers do it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from sdpatterns.backends.sqlalchemy.engine.failures import unavailable
from sdpatterns.backends.sqlalchemy.postgres.asyncpg import AsyncpgConnection, ConnectionFactory
from sdpatterns.backends.sqlalchemy.postgres.bounds import Bound
from sdpatterns.backends.sqlalchemy.postgres.dialect import CHANNEL
from sdpatterns.core.runtime import current
from sdpatterns.ports.engine.source import Hears, SocketWait, Source

__all__ = ["AsyncpgConnector", "PsycopgConnector"]


class _Connector:
    """See `Connector`. All topics share one channel: a payload says which one was notified."""

    def __init__(self, shown: str, timeout_s: float) -> None:
        self._shown = shown
        self.timeout_s = timeout_s

    def channel_of(self, topic: str, /) -> str:
        return CHANNEL

    def failure(self, error: Exception, /) -> Exception:
        return unavailable(self._shown, error)

    def is_refusal(self, error: Exception, /) -> bool:
        return False


class _Source:
    """What both kinds share. LISTEN has been sent before anybody asks."""

    def ask(self, add: Sequence[str], drop: Sequence[str], /) -> Sequence[str]:
        return add


class PsycopgConnector(_Connector):
    """Listens in a thread, on a connection of psycopg."""

    def __init__(self, engine: Engine, shown: str, timeout_s: float) -> None:
        super().__init__(shown, timeout_s)
        self._engine = engine

    async def open(self, listener: Hears, /) -> Source:
        """A connection with LISTEN on it, out of the pool."""
        with Bound(self.timeout_s) as bound:
            driver = bound.made(self._detached, lambda late: late.close())
            try:
                bound.watch(driver)
                # Without it LISTEN would open a transaction, and a session in a transaction hears nothing.
                driver.autocommit = True
                driver.execute(f"LISTEN {CHANNEL}")
            except BaseException:
                driver.close()
                raise
        return _PsycopgSource(driver, listener, self.timeout_s)

    def _detached(self) -> Any:
        connection = self._engine.raw_connection()
        driver = connection.driver_connection
        # Out of the pool for good: a connection that listens would hand its notifications to its next user.
        connection.detach()
        return driver


class _PsycopgSource(_Source):
    def __init__(self, driver: Any, listener: Hears, timeout_s: float) -> None:
        self._driver = driver
        self._listener = listener
        self._timeout_s = timeout_s
        self._wait = SocketWait(driver.fileno())

    async def receive(self, within_s: float, /) -> bool:
        # First what has been read already: bytes that an earlier call took off the socket wake no `wait`.
        if not self._take() and not self._wait.wait(within_s):
            return False
        self._driver.pgconn.consume_input()
        self._take()
        return True

    def _take(self) -> bool:
        was_any = False
        while (notice := self._driver.pgconn.notifies()) is not None:
            was_any = True
            self._listener.heard(notice.extra.decode())
        return was_any

    async def prove(self) -> None:
        with Bound(self._timeout_s) as bound:
            bound.watch(self._driver)
            self._driver.execute("SELECT 1")

    def interrupt(self) -> None:
        self._wait.interrupt()

    async def close(self) -> None:
        self._wait.close()
        self._driver.close()


class AsyncpgConnector(_Connector):
    """Listens in a task, on a connection of asyncpg."""

    def __init__(self, factory: ConnectionFactory, shown: str, timeout_s: float) -> None:
        super().__init__(shown, timeout_s)
        self._factory = factory

    async def open(self, listener: Hears, /) -> Source:
        """A connection with LISTEN on it."""
        async with asyncio.timeout(self.timeout_s):
            connection = await self._factory.connect()
        try:
            source = _AsyncpgSource(connection, listener, self.timeout_s)
            async with asyncio.timeout(self.timeout_s):
                await connection.driver.add_listener(CHANNEL, source.hear)
        except BaseException:
            await connection.abandon()
            raise
        return source


class _AsyncpgSource(_Source):
    def __init__(self, connection: AsyncpgConnection, listener: Hears, timeout_s: float) -> None:
        self._connection = connection
        self._listener = listener
        self._timeout_s = timeout_s
        self._news = current().waiter()
        self._is_over = False
        connection.driver.add_termination_listener(self._ended)

    def _ended(self, *_: object) -> None:
        self._is_over = True
        self._news.wake()

    def hear(self, _connection: object, _pid: int, _channel: str, topic: object) -> None:
        """The driver's callback."""
        self._listener.heard(str(topic))
        self._news.wake()

    async def receive(self, within_s: float, /) -> bool:
        had_news = await self._news.wait(within_s)
        # asyncpg closes without raising in the task that waits, so that this has to be said here.
        if self._is_over:
            raise ConnectionError("the connection that listens was closed")
        return had_news

    async def prove(self) -> None:
        await self._connection.driver.execute("SELECT 1", timeout=self._timeout_s)

    def interrupt(self) -> None:
        """Nothing: there is nothing to ask the server for."""

    async def close(self) -> None:
        await self._connection.abandon()
