"""The connection on which batches run, made when it is needed and made again when it broke."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from sdpatterns.backends.sqlalchemy.bounds import Bound
from sdpatterns.backends.sqlalchemy.dialer import Dialer, Wire
from sdpatterns.backends.sqlalchemy.migrations import check_schema
from sdpatterns.backends.sqlalchemy.postgres import payload
from sdpatterns.backends.sqlalchemy.sqlite import data_version
from sdpatterns.backends.sqlalchemy.transactions import PsycopgTransaction, SQLiteTransaction, Transaction
from sdpatterns.backends.sqlalchemy.work import Batch, Broom, Speech, run_batch
from sdpatterns.core.forks import drop_in_child, prepare_for_fork
from sdpatterns.core.runtime import finish
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.pressure import Usage

__all__ = ["AsyncLink", "BlockingLink", "Link"]

T = TypeVar("T")

_APART_MAX = 4


class Link(Protocol):
    """Runs batches for one loop, or for the threads of a program without one."""

    shown: str
    """The database's URL, fit to be shown."""
    timeout_s: float
    """How long one flush may wait for the database."""
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

    def is_moving(self) -> bool:
        """Whether those who hold what a batch waited for get on, so that waiting again makes sense."""
        ...


def _driver_of(connection: Connection) -> Any:
    # Not `driver_connection`: a connection that was detached from its pool has none.
    return connection.connection.dbapi_connection


def _discard(connection: Connection) -> None:
    # Given back it would go to a pool that may be disposed of by now, and that closes nothing any more.
    connection.detach()
    connection.close()


def _tx_of(connection: Connection) -> Transaction:
    driver = _driver_of(connection)
    return SQLiteTransaction(driver) if connection.dialect.name == "sqlite" else PsycopgTransaction(driver)


class _Kept(NamedTuple):
    """The connection on which batches run."""

    connection: Connection
    tx: Transaction


class BlockingLink:
    """See `Link`. Its coroutines never suspend; any thread may call."""

    def __init__(self, engine: Engine, speech: Speech, shown: str, local: LocalSignals, timeout_s: float) -> None:
        self.shown = shown
        self.timeout_s = timeout_s
        self.usage = Usage()
        self.engine = engine
        self._speech = speech
        self._broom = Broom(speech)
        self._local = local
        self._lock = threading.Lock()
        self._kept: _Kept | None = None
        self._apart = threading.Semaphore(_APART_MAX)
        self._data_version: int | None = None
        self._runs_in: int | None = None
        self._left_to_the_parent: _Kept | None = None
        self._rests = False
        if not speech.notifies:
            prepare_for_fork(self)
            drop_in_child(self)

    def before_fork(self) -> None:
        """Wait for the end of a transaction, and close the file.

        SQLite keeps its locks on a file once for the whole process, so a child that inherits an open
        file waits without end for a transaction that only the parent can end.
        """
        # A statement may wait for another process as long as `timeout_s`.
        self._rests = self._runs_in != threading.get_ident() and self._lock.acquire(timeout=self.timeout_s + 1)
        if self._rests:
            self._drop()
            self.engine.dispose()

    def after_fork_in_parent(self) -> None:
        """Go on: the next batch opens the file again."""
        if self._rests:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Give up a transaction that could not end, because the step in it forked or stands still."""
        if not self._rests and self._kept is not None:
            with contextlib.suppress(Exception):
                _driver_of(self._kept.connection).rollback()
        # This link is never used again here, but a fork of this child asks it to prepare too.
        self._left_to_the_parent, self._kept = self._kept, None
        self._lock, self._runs_in = threading.Lock(), None

    @property
    def waits_for_rows(self) -> bool:
        """Whether a step can wait for a row alone: in SQLite it waits for the file."""
        return self._speech.notifies

    @property
    def capacity(self) -> int:
        """One writer is all that SQLite has."""
        return 1 + _APART_MAX if self._speech.notifies else 1

    async def run(self, batch: Batch, /) -> None:
        """Run the batch on the one connection that is kept for that; one batch at a time."""
        with self._lock:
            self._runs_in = threading.get_ident()
            try:
                with self._bound(self.timeout_s) as bound:
                    batch.fresh = self._kept is None
                    kept = self._kept
                    if kept is None:
                        kept = self._open(bound)
                    else:
                        bound.watch(_driver_of(kept.connection))
                    finish(run_batch(self._speech, kept.tx, batch))
                    finish(self._broom.after(batch, kept.tx))
            except BaseException:
                self._drop()
                raise
            finally:
                self._runs_in = None
        if batch.topics and not self._speech.notifies:
            self._local.wake(map(payload, batch.topics))

    async def run_apart(self, batch: Batch, /) -> None:
        """Run it on a connection of its own, where it may wait for a row. At most four at once."""
        if not self._speech.notifies:
            # One writer at a time is all that SQLite has.
            await self.run(batch)
            return
        if not self._apart.acquire(timeout=self.timeout_s):
            raise TimeoutError(f"no connection was free within {self.timeout_s:g} s")
        try:
            # Twice: a row may be waited for as long as `lock_timeout` says.
            self._on_one(lambda opened: finish(run_batch(self._speech, _tx_of(opened), batch)), 2 * self.timeout_s)
        finally:
            self._apart.release()

    def is_moving(self) -> bool:
        if self._speech.notifies:
            return True
        # One program that keeps the file's lock is no contention. Writers that take turns write to the log.
        try:
            written_at = Path(f"{self.engine.url.database}-wal").stat().st_mtime
        except OSError:
            return False
        return time.time() - written_at < self.timeout_s

    def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        # With SQLite one after another, so that a fork finds no transaction open.
        with contextlib.nullcontext() if self._speech.notifies else self._lock:
            return self._on_one(task, 6 * self.timeout_s)

    def _on_one(self, task: Callable[[Connection], T], within_s: float) -> T:
        with self._bound(self.timeout_s) as bound:
            opened = bound.made(self.engine.connect, _discard)
        with opened as connection, self._bound(within_s) as bound:
            try:
                bound.watch(_driver_of(connection))
                connection.execution_options(isolation_level="AUTOCOMMIT")
                return task(connection)
            except BaseException:
                connection.invalidate()
                raise

    def _bound(self, within_s: float) -> Bound:
        # SQLite waits for nothing but the file's lock, and for that its own timeout is the bound.
        return Bound(within_s if self._speech.notifies else None)

    def others_wrote(self) -> bool:
        """Whether another connection has committed since the last look, or may have. SQLite only."""
        with self._lock:
            try:
                seen = finish(data_version((self._kept or self._open(Bound(None))).tx))
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

    def _open(self, bound: Bound) -> _Kept:
        connection = bound.made(self.engine.connect, _discard)
        try:
            bound.watch(_driver_of(connection))
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            check_schema(connection)
            kept = _Kept(connection, _tx_of(connection))
            finish(self._speech.prepare(kept.tx))
        except BaseException:
            connection.close()
            raise
        self._kept = kept
        return kept

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        self._data_version = None
        if kept is not None:
            with contextlib.suppress(Exception):
                kept.connection.close()


class AsyncLink:
    """See `Link`. For one asyncio loop."""

    def __init__(self, engine: AsyncEngine, speech: Speech, shown: str, timeout_s: float) -> None:
        self.shown = shown
        self.usage = Usage()
        self.dialer = Dialer(engine)
        self._speech = speech
        self._broom = Broom(speech)
        self.timeout_s = timeout_s
        self._wire: Wire | None = None
        self._apart = asyncio.Semaphore(_APART_MAX)

    @property
    def capacity(self) -> int:
        """The one that is kept, and those beside it."""
        return 1 + _APART_MAX

    async def run(self, batch: Batch, /) -> None:
        """Run the batch on the one connection that is kept for that; one batch at a time."""
        try:
            async with asyncio.timeout(self.timeout_s):
                batch.fresh = self._wire is None
                wire = self._wire or await self._open()
                await wire.run(lambda tx: self._run_batch(tx, batch))
        except BaseException:
            self._wire = None
            raise

    async def run_apart(self, batch: Batch, /) -> None:
        """Run it on a connection of its own, where it may wait for a row. At most four at once."""
        async with self._apart, asyncio.timeout(2 * self.timeout_s):
            wire = await self._dialed()
            await wire.run(lambda tx: self._run_batch(tx, batch))
            await wire.close()

    def is_moving(self) -> bool:
        return True

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        async with asyncio.timeout(6 * self.timeout_s):
            wire = await self._dialed()
            result = await wire.run_sync(task)
            await wire.close()
            return result

    async def close(self) -> None:
        """Close every connection; the next batch makes a new one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()
        await self.dialer.engine.dispose()

    async def _dialed(self) -> Wire:
        async with asyncio.timeout(self.timeout_s):
            return await self.dialer.dial()

    async def _run_batch(self, tx: Transaction, batch: Batch) -> None:
        await run_batch(self._speech, tx, batch)
        await self._broom.after(batch, tx)

    async def _open(self) -> Wire:
        wire = await self.dialer.dial()
        await wire.run_sync(_keep)
        await wire.run(self._speech.prepare)
        self._wire = wire
        return wire


def _keep(connection: Connection) -> None:
    connection.detach()
    check_schema(connection)
