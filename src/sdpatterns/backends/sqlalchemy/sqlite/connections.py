"""The one connection to a SQLite file, and what a fork does to it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.engine.connections import Kept, driver_of
from sdpatterns.backends.sqlalchemy.engine.dialect import Announce, Unit, run_unit
from sdpatterns.backends.sqlalchemy.engine.migrations import check_schema
from sdpatterns.backends.sqlalchemy.engine.transactions import SQLiteTransaction
from sdpatterns.backends.sqlalchemy.sqlite.dialect import SQLiteDialect, data_version
from sdpatterns.core.forks import drop_in_child, prepare_for_fork
from sdpatterns.core.runtime import finish
from sdpatterns.ports.pressure import Usage

__all__ = ["FileConnections"]

T = TypeVar("T")


class FileConnections:
    """See `Connections`. Its coroutines never suspend; any thread may call. SQLite has one writer at a time.

    No time limit is needed around it: SQLite waits for nothing but the file's lock, and for that it has its own.
    """

    waits_for_rows = False
    capacity = 1

    def __init__(
        self, engine: Engine, dialect: SQLiteDialect, shown: str, timeout_s: float, announce: Announce
    ) -> None:
        self.shown = shown
        self.timeout_s = timeout_s
        self.usage = Usage()
        self.engine = engine
        self._dialect = dialect
        # Other processes see that the file has changed; this one would not see its own change.
        self._announce = announce
        self._lock = threading.Lock()
        self._kept: Kept | None = None
        self._data_version: int | None = None
        self._runs_in: int | None = None
        self._left_to_the_parent: Kept | None = None
        self._rests = False
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
        """Go on: the next unit opens the file again."""
        if self._rests:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Give up a transaction that could not end, because the step in it forked or stands still."""
        if not self._rests and self._kept is not None:
            with contextlib.suppress(Exception):
                driver_of(self._kept.connection).rollback()
        # This object is never used again here, but a fork of this child asks it to prepare too.
        self._left_to_the_parent, self._kept = self._kept, None
        self._lock, self._runs_in = threading.Lock(), None

    async def run(self, unit: Unit, /) -> None:
        """Run the unit on the one connection that is kept for that; one unit at a time."""
        with self._lock:
            self._runs_in = threading.get_ident()
            try:
                unit.fresh = self._kept is None
                finish(run_unit(self._dialect, (self._kept or self._open()).tx, unit, self._announce))
            except BaseException:
                # To close it ends the transaction.
                self._drop()
                raise
            finally:
                self._runs_in = None

    async def run_apart(self, unit: Unit, /) -> None:
        """As `run`: one writer at a time is all that SQLite has."""
        await self.run(unit)

    def is_moving(self) -> bool:
        # One program that keeps the file's lock is no contention. Writers that take turns write to the log.
        try:
            written_at = Path(f"{self.engine.url.database}-wal").stat().st_mtime
        except OSError:
            return False
        return time.time() - written_at < self.timeout_s

    def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        # One after another, so that a fork finds no transaction open.
        with self._lock, self.engine.connect() as connection:
            try:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                return task(connection)
            except BaseException:
                connection.invalidate()
                raise

    def others_wrote(self) -> bool:
        """Whether another connection has committed since the last look, or may have."""
        with self._lock:
            try:
                seen = finish(data_version((self._kept or self._open()).tx))
            except BaseException:
                self._drop()
                raise
            before, self._data_version = self._data_version, seen
        return seen != before

    def close(self) -> None:
        """Close the file; the next unit opens it again."""
        with self._lock:
            self._drop()
        self.engine.dispose()

    def _open(self) -> Kept:
        connection = self.engine.connect()
        try:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            check_schema(connection)
        except BaseException:
            connection.close()
            raise
        self._kept = Kept(connection, SQLiteTransaction(driver_of(connection)))
        return self._kept

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        self._data_version = None
        if kept is not None:
            with contextlib.suppress(Exception):
                kept.connection.close()
