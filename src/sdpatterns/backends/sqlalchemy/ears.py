"""Who hears the announcements of other clients, and rings the ears of this process."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import Engine

from sdpatterns.backends.sqlalchemy.bounds import Bound
from sdpatterns.backends.sqlalchemy.dialer import Dialer
from sdpatterns.backends.sqlalchemy.failures import unavailable
from sdpatterns.backends.sqlalchemy.links import BlockingLink
from sdpatterns.backends.sqlalchemy.postgres import CHANNEL
from sdpatterns.ports.fanout import LocalSignals

__all__ = ["Ears", "FileEars", "LoopEars", "ThreadEars"]

_LOOK_S = 0.05
_PROOF_S = 15.0
_PAUSE_MIN_S = 0.05
_PAUSE_MAX_S = 2.0


class Ears(Protocol):
    """Listens for this process, in a thread."""

    def start(self) -> None:
        """When this returns, announcements are heard."""

    def stop(self) -> None:
        """End, if it runs."""


class FileEars:
    """See `Ears`. While there are listeners, the file's `data_version` shows writes of other processes."""

    def __init__(self, link: BlockingLink, local: LocalSignals) -> None:
        self._link = link
        self._local = local
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """When this returns, announcements are heard."""
        try:
            if self._link.others_wrote():
                self._local.ring_all()
        except Exception as error:
            raise unavailable(self._link.shown, error) from error
        with self._lock:
            if self._thread is None:
                self._stopped = threading.Event()
                self._thread = threading.Thread(
                    target=self._watch, args=(self._stopped,), name="sdpatterns-sqlite-ears", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End, if it runs."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopped.set()
        if thread is not None:
            thread.join()

    def _watch(self, stopped: threading.Event) -> None:
        while not stopped.wait(_LOOK_S):
            with self._lock:
                if not self._local.is_heard and self._thread is threading.current_thread():
                    self._thread = None
                    return
            self._look()

    def _look(self) -> None:
        try:
            news = self._link.others_wrote()
        except Exception:  # noqa: BLE001 - away: listeners look for themselves
            news = True
        if news:
            self._local.ring_all()


class ThreadEars:
    """See `Ears`. A thread that holds a psycopg connection with LISTEN on it."""

    def __init__(
        self, engine: Engine, local: LocalSignals, shown: str, timeout_s: float, random: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._local = local
        self._shown = shown
        self._random = random
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._bell: socket.socket | None = None

    def start(self) -> None:
        """When this returns, announcements are heard."""
        with self._lock:
            if self._thread is None:
                connection = self._connect()
                self._stopped = threading.Event()
                self._bell, hears = socket.socketpair()
                self._thread = threading.Thread(
                    target=self._keep, args=(connection, hears, self._stopped), name="sdpatterns-listen", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End, if it runs."""
        with self._lock:
            thread, self._thread = self._thread, None
            bell, self._bell = self._bell, None
            self._stopped.set()
            if bell is not None:
                bell.close()
        if thread is not None:
            thread.join()

    def _connect(self) -> Any:
        try:
            with Bound(self._timeout_s) as bound:
                driver = bound.made(self._detached, lambda late: late.close())
                try:
                    bound.watch(driver)
                    driver.autocommit = True
                    driver.execute(f"LISTEN {CHANNEL}")
                except BaseException:
                    driver.close()
                    raise
        except Exception as error:
            raise unavailable(self._shown, error) from error
        return driver

    def _detached(self) -> Any:
        connection = self._engine.raw_connection()
        driver = connection.driver_connection
        connection.detach()
        return driver

    def _keep(self, driver: Any, bell: socket.socket, stopped: threading.Event) -> None:
        pause_s = _PAUSE_MIN_S
        with bell:
            while not stopped.is_set():
                try:
                    if driver is None:
                        driver = self._connect()
                        self._local.ring_all()
                    self._hear(driver, bell, stopped)
                    pause_s = _PAUSE_MIN_S
                except Exception:  # noqa: BLE001 - away: try again until stopped
                    stopped.wait(pause_s * (0.5 + self._random()))
                    pause_s = min(2 * pause_s, _PAUSE_MAX_S)
                finally:
                    if driver is not None:
                        driver.close()
                    driver = None

    def _hear(self, driver: Any, bell: socket.socket, stopped: threading.Event) -> None:
        while not stopped.is_set():
            readable, _, _ = select.select([driver.fileno(), bell], [], [], _PROOF_S)
            if not readable:
                with Bound(self._timeout_s) as bound:
                    bound.watch(driver)
                    driver.execute("SELECT 1")  # A connection may be dead without having said so.
            driver.pgconn.consume_input()
            while (notice := driver.pgconn.notifies()) is not None:
                self._local.ring([notice.extra.decode()])


class LoopEars:
    """A task of one loop that holds an asyncpg connection with LISTEN on it."""

    def __init__(
        self, dialer: Dialer, local: LocalSignals, shown: str, timeout_s: float, random: Callable[[], float]
    ) -> None:
        self._dialer = dialer
        self._local = local
        self._shown = shown
        self._timeout_s = timeout_s
        self._random = random
        self._task: asyncio.Task[None] | None = None
        self._is_up = False
        self._was_up = False
        self._waiting: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        """When this returns, announcements are heard. Raises `BackendUnavailable`."""
        if self._is_up:
            return
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._keep())
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        await future

    async def stop(self) -> None:
        """End, if it runs."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _keep(self) -> None:
        pause_s = _PAUSE_MIN_S
        try:
            while True:
                try:
                    await self._listen()
                    pause_s = _PAUSE_MIN_S
                except Exception as error:  # noqa: BLE001 - away: said to those who wait, tried again for the others
                    self._tell(error)
                    if not self._local.is_heard:
                        return
                await asyncio.sleep(pause_s * (0.5 + self._random()))
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        finally:
            self._task = None
            self._was_up = False
            self._tell(ConnectionAbortedError("the listener was stopped"))

    async def _listen(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            wire = await self._dialer.dial()
        try:
            ended = asyncio.Event()
            wire.driver.add_termination_listener(lambda *_: ended.set())
            async with asyncio.timeout(self._timeout_s):
                await wire.driver.add_listener(CHANNEL, self._hear)
            self._is_up = True
            self._tell(None)
            if self._was_up:
                self._local.ring_all()
            self._was_up = True
            await self._until(ended, wire.driver)
        finally:
            self._is_up = False
            await wire.abandon()

    async def _until(self, ended: asyncio.Event, driver: Any) -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PROOF_S):
                    await ended.wait()
                    return
            # A connection may be dead without having said so.
            await driver.execute("SELECT 1", timeout=self._timeout_s)

    def _hear(self, _connection: object, _pid: int, _channel: str, topic: object) -> None:
        self._local.ring([str(topic)])

    def _tell(self, error: BaseException | None) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(unavailable(self._shown, error))
