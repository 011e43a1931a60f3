"""How this process hears of the notifications of other clients: LISTEN on Postgres, a changed file on SQLite.

When to open a connection that listens and what to do when it breaks is the business of
`sdpatterns.ports.engine.listener`; here stands only how the two drivers of Postgres do it. SQLite has
nothing to listen to, so there the file is looked at.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from sdpatterns.backends.sqlalchemy.bounds import Bound
from sdpatterns.backends.sqlalchemy.dialer import Dialer, Wire
from sdpatterns.backends.sqlalchemy.failures import unavailable
from sdpatterns.backends.sqlalchemy.links import BlockingLink
from sdpatterns.backends.sqlalchemy.postgres import CHANNEL
from sdpatterns.backends.sqlalchemy.writer import Writer
from sdpatterns.core.runtime import current
from sdpatterns.ports.engine.source import Hears, SocketWait, Source
from sdpatterns.ports.fanout import LocalSignals

__all__ = ["AsyncpgConnector", "FileListener", "PsycopgConnector", "WriterListener"]

_LOOK_S = 0.05


class FileListener:
    """See `Listens`. While there are subscribers, the file's `data_version` shows writes of other processes."""

    def __init__(self, link: BlockingLink, local: LocalSignals) -> None:
        self.local = local
        self._link = link
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    async def add(self, topics: Sequence[str], /) -> bool:
        """Look at the file from now on."""
        self.start()
        return True

    def drop(self, topics: Sequence[str], /) -> None:
        """Nothing: the thread ends when it finds no subscribers."""

    def start(self) -> None:
        """Look at the file now, and from now on in a thread."""
        try:
            if self._link.others_wrote():
                self.local.wake_all()
        except Exception as error:
            raise unavailable(self._link.shown, error) from error
        with self._lock:
            if self._thread is None:
                self._stopped = threading.Event()
                self._thread = threading.Thread(
                    target=self._watch, args=(self._stopped,), name="sdpatterns-sqlite-listen", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """End the thread, if it runs."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopped.set()
        if thread is not None:
            thread.join()

    async def stop(self) -> None:
        """End the thread, if it runs."""
        self.close()

    def _watch(self, stopped: threading.Event) -> None:
        while not stopped.wait(_LOOK_S):
            with self._lock:
                if not self.local.has_subscribers and self._thread is threading.current_thread():
                    self._thread = None
                    return
            self._look()

    def _look(self) -> None:
        try:
            news = self._link.others_wrote()
        except Exception:  # noqa: BLE001 - away: subscribers look for themselves
            news = True
        if news:
            self.local.wake_all()


class WriterListener:
    """See `Listens`. For the tasks of a loop: the file is looked at in the thread that owns it."""

    def __init__(self, file: FileListener, writer: Writer) -> None:
        self.local = file.local
        self._file = file
        self._writer = writer

    async def add(self, topics: Sequence[str], /) -> bool:
        """Look at the file from now on."""
        await self._writer.run(self._file.start)
        return True

    def drop(self, topics: Sequence[str], /) -> None:
        """Nothing: the thread ends when it finds no subscribers."""


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
                driver.autocommit = True
                driver.execute(f"LISTEN {CHANNEL}")
            except BaseException:
                driver.close()
                raise
        return _PsycopgSource(driver, listener, self.timeout_s)

    def _detached(self) -> Any:
        connection = self._engine.raw_connection()
        driver = connection.driver_connection
        connection.detach()
        return driver


class _PsycopgSource(_Source):
    def __init__(self, driver: Any, listener: Hears, timeout_s: float) -> None:
        self._driver = driver
        self._listener = listener
        self._timeout_s = timeout_s
        self._wait = SocketWait(driver.fileno())

    async def receive(self, within_s: float, /) -> bool:
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

    def __init__(self, dialer: Dialer, shown: str, timeout_s: float) -> None:
        super().__init__(shown, timeout_s)
        self._dialer = dialer

    async def open(self, listener: Hears, /) -> Source:
        """A connection with LISTEN on it."""
        async with asyncio.timeout(self.timeout_s):
            wire = await self._dialer.dial()
        try:
            source = _AsyncpgSource(wire, listener, self.timeout_s)
            async with asyncio.timeout(self.timeout_s):
                await wire.driver.add_listener(CHANNEL, source.hear)
        except BaseException:
            await wire.abandon()
            raise
        return source


class _AsyncpgSource(_Source):
    def __init__(self, wire: Wire, listener: Hears, timeout_s: float) -> None:
        self._wire = wire
        self._listener = listener
        self._timeout_s = timeout_s
        self._news = current().waiter()
        self._is_over = False
        wire.driver.add_termination_listener(self._ended)

    def _ended(self, *_: object) -> None:
        self._is_over = True
        self._news.wake()

    def hear(self, _connection: object, _pid: int, _channel: str, topic: object) -> None:
        """The driver's callback."""
        self._listener.heard(str(topic))
        self._news.wake()

    async def receive(self, within_s: float, /) -> bool:
        had_news = await self._news.wait(within_s)
        if self._is_over:
            raise ConnectionError("the connection that listens was closed")
        return had_news

    async def prove(self) -> None:
        await self._wire.driver.execute("SELECT 1", timeout=self._timeout_s)

    def interrupt(self) -> None:
        """Nothing: there is nothing to ask the server for."""

    async def close(self) -> None:
        await self._wire.abandon()
