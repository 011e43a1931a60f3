"""The connections of a program without a loop, through psycopg."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.engine.connections import APART_MAX, Kept, discard, driver_of
from sdpatterns.backends.sqlalchemy.engine.dialect import Announce, Unit, run_unit, say_nothing
from sdpatterns.backends.sqlalchemy.engine.migrations import check_schema
from sdpatterns.backends.sqlalchemy.engine.transactions import PsycopgTransaction
from sdpatterns.backends.sqlalchemy.postgres.bounds import Bound
from sdpatterns.backends.sqlalchemy.postgres.dialect import PostgresDialect, prepare
from sdpatterns.core.runtime import finish
from sdpatterns.ports.pressure import Usage

__all__ = ["ThreadConnections"]

T = TypeVar("T")


class ThreadConnections:
    """See `Connections`. Its coroutines never suspend; any thread may call."""

    waits_for_rows = True

    def __init__(
        self,
        engine: Engine,
        dialect: PostgresDialect,
        shown: str,
        timeout_s: float,
        announce: Announce = say_nothing,
    ) -> None:
        self.shown = shown
        self.timeout_s = timeout_s
        self.usage = Usage()
        self.engine = engine
        self._dialect = dialect
        self._announce = announce
        self._lock = threading.Lock()
        self._kept: Kept | None = None
        self._apart = threading.Semaphore(APART_MAX)

    @property
    def capacity(self) -> int:
        """The one that is kept, and those beside it."""
        return 1 + APART_MAX

    async def run(self, unit: Unit, /) -> None:
        """Run the unit on the one connection that is kept for that; one unit at a time."""
        with self._lock:
            try:
                with Bound(self.timeout_s) as bound:
                    kept = self._kept
                    unit.fresh = kept is None
                    if kept is None:
                        kept = self._open(bound)
                    else:
                        bound.watch(driver_of(kept.connection))
                    finish(run_unit(self._dialect, kept.tx, unit, self._announce))
            except BaseException:
                # What it was doing is not known, so that nothing else may run on it.
                self._drop()
                raise

    async def run_apart(self, unit: Unit, /) -> None:
        """Run it on a connection of its own, where it may wait for a row. At most four at once."""
        if not self._apart.acquire(timeout=self.timeout_s):
            raise TimeoutError(f"no connection was free within {self.timeout_s:g} s")
        try:
            # Twice: a row may be waited for as long as `lock_timeout` says.
            self._on_one(lambda opened: finish(self._run_on(opened, unit)), 2 * self.timeout_s)
        finally:
            self._apart.release()

    async def _run_on(self, connection: Connection, unit: Unit) -> None:
        await run_unit(self._dialect, PsycopgTransaction(driver_of(connection)), unit, self._announce)

    def is_moving(self) -> bool:
        return True

    def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        return self._on_one(task, 6 * self.timeout_s)

    def _on_one(self, task: Callable[[Connection], T], within_s: float) -> T:
        with Bound(self.timeout_s) as bound:
            opened = bound.made(self.engine.connect, discard)
        with opened as connection, Bound(within_s) as bound:
            try:
                bound.watch(driver_of(connection))
                connection.execution_options(isolation_level="AUTOCOMMIT")
                return task(connection)
            except BaseException:
                connection.invalidate()
                raise

    def close(self) -> None:
        """Close every connection; the next unit makes a new one."""
        with self._lock:
            self._drop()
        self.engine.dispose()

    def _open(self, bound: Bound) -> Kept:
        connection = bound.made(self.engine.connect, discard)
        try:
            bound.watch(driver_of(connection))
            connection.execution_options(isolation_level="AUTOCOMMIT")
            # Out of the pool, because its settings are its own: see `prepare`.
            connection.detach()
            check_schema(connection)
            kept = Kept(connection, PsycopgTransaction(driver_of(connection)))
            finish(prepare(kept.tx))
        except BaseException:
            connection.close()
            raise
        self._kept = kept
        return kept

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            with contextlib.suppress(Exception):
                kept.connection.close()
