"""A SQL database as a backend."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import URL, Engine, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from sdpatterns.backends.sqlalchemy.database import Database
from sdpatterns.backends.sqlalchemy.engine.failures import unavailable
from sdpatterns.backends.sqlalchemy.engine.migrations import is_current, migrate
from sdpatterns.backends.sqlalchemy.engine.texts import given_text
from sdpatterns.backends.sqlalchemy.engine.transactions import ViewTransaction
from sdpatterns.backends.sqlalchemy.log import DEFAULT_LOG, SQLLog
from sdpatterns.backends.sqlalchemy.postgres.cells import PostgresCells
from sdpatterns.backends.sqlalchemy.postgres.dialect import PostgresDialect
from sdpatterns.backends.sqlalchemy.postgres.log import PostgresEvents
from sdpatterns.backends.sqlalchemy.postgres.queue import PostgresMessages
from sdpatterns.backends.sqlalchemy.queue import DEFAULT, SQLQueue
from sdpatterns.backends.sqlalchemy.resources import DatabaseResources, Tables
from sdpatterns.backends.sqlalchemy.signals import SQLSignals
from sdpatterns.backends.sqlalchemy.sqlite.cells import SQLiteCells
from sdpatterns.backends.sqlalchemy.sqlite.dialect import SQLiteDialect
from sdpatterns.backends.sqlalchemy.sqlite.log import SQLiteEvents
from sdpatterns.backends.sqlalchemy.sqlite.queue import SQLiteMessages
from sdpatterns.backends.sqlalchemy.states import SQLStates
from sdpatterns.backends.sqlalchemy.tables import PARKED, SCHEMA_VERSION
from sdpatterns.backends.sqlalchemy.within import CallerTransaction, SQLView
from sdpatterns.core.judging import plain
from sdpatterns.core.keys import check_name
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.ranges import number
from sdpatterns.core.runtime import ASYNCIO, BLOCKING, finish
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.lifespan import Lifespan
from sdpatterns.ports.log import LogSettings
from sdpatterns.ports.pressure import Pressure
from sdpatterns.ports.queue import DeadLettersDropped, QueueSettings

__all__ = ["SQLBackend"]

T = TypeVar("T")


class SQLBackend(Lifespan):
    """Keeps state, messages, events and signals in a SQLite file or in Postgres, with or without an event loop.

    ```
    tasks, threads --> one batch --> one transaction (SQLite), two statements (Postgres)
    ```

    Built at import; opens nothing until it is first used. Each loop, and each process after a fork,
    gets connections of its own. `async with backend` (or `with`, where it blocks) closes what was
    opened; it may be used again afterwards. `timeout_s` bounds what one flush waits for the
    database. `durable=False` lets the database answer before the disk has it: a power cut may then
    take the last moments.

    **Keeps** steps on one cell in order, from all processes; a step wholly or not at all; time that
    never goes back for a cell. **May fail** with `BackendUnavailable` (nothing happened; the message
    names the URL and the fix; the next call tries again), `OutcomeUnknown`, or `UnknownVersion`
    where the tables are a newer release's. **Costs**: see `docs/backends/sql.md`.
    """

    def __init__(
        self,
        source: str | URL | Engine | AsyncEngine,
        *,
        blocking: bool | None = None,
        timeout_s: float = 5.0,
        durable: bool = True,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        number("timeout_s", timeout_s, 0.1, 3600.0)
        database = Database(source, blocking=blocking, timeout_s=timeout_s, durable=durable)
        self.shown = database.shown
        self.runtime = BLOCKING if database.blocking else ASYNCIO
        self._dialect = SQLiteDialect() if database.kind == "sqlite" else PostgresDialect()
        self._tables = (
            Tables(SQLiteCells(self._dialect), SQLiteMessages(self._dialect), SQLiteEvents(self._dialect))
            if isinstance(self._dialect, SQLiteDialect)
            else Tables(PostgresCells(self._dialect), PostgresMessages(self._dialect), PostgresEvents(self._dialect))
        )
        self._resources = DatabaseResources(
            database, self._dialect, self._tables, timeout_s, plain("random", random), LocalSignals()
        )
        self.states = SQLStates(self.runtime, self._resources.here, random, database.facts)
        self.signals = SQLSignals(self.runtime, self._resources.here, self.states.run)

    @classmethod
    def from_url(
        cls,
        url: str | URL,
        *,
        blocking: bool | None = None,
        timeout_s: float = 5.0,
        durable: bool = True,
        random: Callable[[], float] = random_module.random,
    ) -> Self:
        """From `sqlite+aiosqlite:///file`, `postgresql+asyncpg://…`, `sqlite:///file` or `postgresql+psycopg://…`.

        The driver says whether it blocks; without one in the URL, `blocking` does (by default it blocks).
        The other settings are those of `SQLBackend(...)`.
        """
        return cls(url, blocking=blocking, timeout_s=timeout_s, durable=durable, random=random)

    async def create(self) -> None:
        """Make the tables, or bring those of an older release up to date.

        Raises `BackendUnavailable`, or `UnknownVersion` for a newer schema.
        """
        await self.migrate()

    async def migrate(self) -> tuple[int | None, int]:
        """As `create`; the schema version that was found (None for no tables) and the one that is there now."""
        return await self._on_one(self._migrate)

    async def sweep(self, *, limit: int = 500) -> int:
        """Delete up to `limit` cells whose time has passed, and as many dead letters of each queue; how many it were.

        Call it again while there were some. Listeners get `DeadLettersDropped`.
        """
        cells, letters = await self._on_one(lambda connection: self._swept(connection, limit))
        if LISTENERS:
            for name, count in letters.items():
                tell(DeadLettersDropped(name=given_text(name), count=count))
        return cells + sum(letters.values())

    def queue(self, name: str, /, settings: QueueSettings = DEFAULT) -> SQLQueue:
        """The queue of that name. Opens nothing; the same name is the same queue, whatever object it comes from."""
        return SQLQueue(name, settings, self.runtime, self._resources.here)

    def log(self, name: str, /, settings: LogSettings = DEFAULT_LOG) -> SQLLog:
        """The log of that name. Opens nothing; the same name is the same log, whatever object it comes from."""
        check_name("a log", name)
        return SQLLog(name, settings, self.runtime, self._resources.here, self.signals)

    def within(self, transaction: CallerTransaction, *, savepoints: bool = True) -> SQLView:
        """The same ports on a transaction of the caller's: a session or a connection of SQLAlchemy.

        With `savepoints=False` queues and logs need fewer statements, and what they raise has to end the transaction.
        """
        spoken = _dialect_of(transaction)
        if spoken != self._dialect.name:
            raise ValueError(f"a transaction in {spoken} was given to a backend in {self.shown}")
        announce = self._resources.announce_here
        return SQLView(self._dialect, self._tables, transaction, announce, savepoints=savepoints)

    def pressure(self) -> Pressure:
        """How busy its connections in this process are: see `observability.resources.of_backend`."""
        return self._resources.pressure()

    def shift(self, seconds: float) -> None:
        """Move the store's time, for tests of what expires."""
        self._dialect.shift_us += round(seconds * 1_000_000)

    async def _on_one(self, task: Callable[[Connection], T]) -> T:
        try:
            return await self._resources.here().on_one(task)
        except Exception as error:
            raise unavailable(self.shown, error) from error

    def _swept(self, connection: Connection, limit: int) -> tuple[int, dict[str, int]]:
        """How many cells, and how many dead letters of which queues."""
        tx = ViewTransaction(connection)
        cells, letters = finish(self._tables.cells.sweep(tx, limit)), dict[str, int]()
        # A queue that no program uses any more sweeps nothing itself. The next name is one look at an index.
        first = select(func.min(PARKED.c.queue))
        name = connection.execute(first).scalar()
        while name is not None:
            done = finish(self._tables.messages.run("sweep", tx, name, [limit], wait_max_s=0.0))
            if done is not None and done.answers[0]:
                letters[name] = done.answers[0]
            name = connection.execute(first.where(PARKED.c.queue > name)).scalar()
        return cells, letters

    def _migrate(self, connection: Connection) -> tuple[int | None, int]:
        # Most starts of a program find everything there, and then none of them waits for another one.
        if is_current(connection):
            return SCHEMA_VERSION, SCHEMA_VERSION
        # Two processes that start at once would both make the tables.
        self._dialect.begin_alone(connection)
        versions = migrate(connection)
        connection.exec_driver_sql("COMMIT")
        return versions

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.close()

    def __enter__(self) -> Self:
        if self.runtime is not BLOCKING:
            raise TypeError("this backend needs asyncio: 'async with', or build it with blocking=True")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finish(self.__aexit__(kind, error, trace))


def _dialect_of(transaction: CallerTransaction) -> str:
    if isinstance(transaction, Session | AsyncSession):
        return transaction.get_bind().dialect.name
    return transaction.dialect.name
