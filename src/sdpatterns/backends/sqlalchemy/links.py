"""The connection on which batches run, made when it is needed and made again when it broke."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from sdpatterns.backends.sqlalchemy.dialer import Dialer, Wire
from sdpatterns.backends.sqlalchemy.sqlite import data_version
from sdpatterns.backends.sqlalchemy.tables import check_version
from sdpatterns.backends.sqlalchemy.work import Batch, Broom, Speech, run_batch
from sdpatterns.ports.pressure import Usage

__all__ = ["AsyncLink", "BlockingLink", "Link"]

T = TypeVar("T")

_APART_MAX = 4


class Link(Protocol):
    """Runs batches for one loop, or for the threads of a program without one."""

    shown: str
    """The database's URL, fit to be shown."""
    usage: Usage
    """Its connections that are at work, and how often one failed."""

    @property
    def capacity(self) -> int:
        """How many may be at work at once."""
        ...

    async def run(self, batch: Batch, /) -> None:
        """Run the batch on the one connection that is kept for that; one batch at a time."""

    async def run_apart(self, batch: Batch, /) -> None:
        """Run it on a connection of its own, where it may wait for a row. At most four at once."""


def _make_ready(speech: Speech, connection: Connection) -> None:
    check_version(connection)
    speech.prepare(connection)


class BlockingLink:
    """See `Link`. Its coroutines never suspend; any thread may call."""

    def __init__(self, engine: Engine, speech: Speech, shown: str, ring: Callable[[list[str]], None]) -> None:
        self.shown = shown
        self.usage = Usage()
        self.engine = engine
        self._speech = speech
        self._broom = Broom(speech)
        self._ring = ring
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._apart = threading.Semaphore(_APART_MAX)
        self._data_version: int | None = None

    @property
    def capacity(self) -> int:
        """One writer is all that SQLite has."""
        return 1 + _APART_MAX if self._speech.notifies else 1

    async def run(self, batch: Batch, /) -> None:
        """Run the batch on the one connection that is kept for that; one batch at a time."""
        with self._lock:
            try:
                batch.fresh = self._connection is None
                connection = self._connection or self._open()
                run_batch(self._speech, connection, batch)
                self._broom.after(batch, connection)
            except BaseException:
                self._drop()
                raise
        if batch.topics and not self._speech.notifies:
            self._ring(batch.topics)

    async def run_apart(self, batch: Batch, /) -> None:
        """Run it on a connection of its own, where it may wait for a row. At most four at once."""
        if not self._speech.notifies:
            # One writer at a time is all that SQLite has.
            await self.run(batch)
            return
        with self._apart, self.engine.connect() as connection:
            try:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                run_batch(self._speech, connection, batch)
            except BaseException:
                connection.invalidate()
                raise

    def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        with self.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                return task(connection)
            except BaseException:
                connection.invalidate()
                raise

    def others_wrote(self) -> bool:
        """Whether another connection has committed since the last look, or may have. SQLite only."""
        with self._lock:
            try:
                seen = data_version(self._connection or self._open())
            except BaseException:
                self._drop()
                raise
            before, self._data_version = self._data_version, seen
        return seen != before

    def close(self) -> None:
        """Close every connection; the next batch makes a new one."""
        with self._lock:
            self._drop()
        self.engine.dispose()

    def _open(self) -> Connection:
        connection = self.engine.connect()
        try:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            _make_ready(self._speech, connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._data_version = None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


class AsyncLink:
    """See `Link`. For one asyncio loop."""

    def __init__(self, engine: AsyncEngine, speech: Speech, shown: str, timeout_s: float) -> None:
        self.shown = shown
        self.usage = Usage()
        self.dialer = Dialer(engine)
        self._speech = speech
        self._broom = Broom(speech)
        self._timeout_s = timeout_s
        self._wire: Wire | None = None
        self._apart = asyncio.Semaphore(_APART_MAX)

    @property
    def capacity(self) -> int:
        """The one that is kept, and those beside it."""
        return 1 + _APART_MAX

    async def run(self, batch: Batch, /) -> None:
        """Run the batch on the one connection that is kept for that; one batch at a time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                batch.fresh = self._wire is None
                wire = self._wire or await self._open()
                await wire.run(self._run_batch, batch)
        except BaseException:
            self._wire = None
            raise

    async def run_apart(self, batch: Batch, /) -> None:
        """Run it on a connection of its own, where it may wait for a row. At most four at once."""
        async with self._apart, asyncio.timeout(2 * self._timeout_s):
            await self._on_one(self._run_batch, batch)

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        async with asyncio.timeout(6 * self._timeout_s):
            return await self._on_one(task)

    async def close(self) -> None:
        """Close every connection; the next batch makes a new one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()
        await self.dialer.engine.dispose()

    async def _on_one(self, task: Callable[..., T], *given: Any) -> T:
        wire = await self.dialer.dial()
        result = await wire.run(task, *given)
        await wire.close()
        return result

    def _run_batch(self, connection: Connection, batch: Batch) -> None:
        run_batch(self._speech, connection, batch)
        self._broom.after(batch, connection)

    async def _open(self) -> Wire:
        wire = await self.dialer.dial()
        await wire.run(self._make_ready)
        self._wire = wire
        return wire

    def _make_ready(self, connection: Connection) -> None:
        connection.detach()
        _make_ready(self._speech, connection)
