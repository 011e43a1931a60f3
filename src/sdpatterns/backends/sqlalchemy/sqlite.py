"""SQLite: one file, one writer at a time, one transaction for everything that waits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.pool import QueuePool

from sdpatterns.backends.sqlalchemy.rows import Place, expiry_us, next_version
from sdpatterns.backends.sqlalchemy.transactions import Statement, Transaction
from sdpatterns.backends.sqlalchemy.work import Batch
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.ports.engine.steps import Change, Found, Snapshot

__all__ = ["SQLiteSpeech", "check_is_file", "data_version", "sqlite_engine"]

_SLACK_US = 60_000_000
"""Clocks of processes may differ by a stepped wall clock; garbage waits a minute longer."""

_READ = "SELECT space, key, version, state, last_us FROM sdp_cells WHERE (space, key) IN (VALUES {})"
_WRITE = Statement(
    "INSERT INTO sdp_cells (space, key, version, state, last_us, expires_us) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (space, key) DO UPDATE SET version = excluded.version, state = excluded.state,"
    " last_us = excluded.last_us, expires_us = excluded.expires_us"
)
_DELETE = Statement("DELETE FROM sdp_cells WHERE space = ? AND key = ?")
_SWEEP = Statement(
    "DELETE FROM sdp_cells WHERE (space, key) IN"
    " (SELECT space, key FROM sdp_cells WHERE expires_us < ? ORDER BY expires_us LIMIT ?)"
)
_SWEPT = Statement("SELECT changes()")
_LOOK = Statement("PRAGMA data_version")
_RING = "UPDATE sdp_schema SET notified = notified + 1"

_READS = [Statement(_READ.format(", ".join(["(?, ?)"] * (1 << power)))) for power in range(11)]


class SQLiteSpeech:
    """See `Speech`."""

    database = "sqlite"
    notifies = False

    def __init__(self) -> None:
        self.shift_us = 0

    def begin(self, batch: Batch, /) -> str | None:
        """How to begin the transaction that the batch needs; None where one statement is enough."""
        # A reader needs no write lock; a step takes it before it reads, so that nothing can come between.
        return "BEGIN" if all(step.reads for step in batch.steps) else "BEGIN IMMEDIATE"

    def begin_alone(self, connection: Connection, /) -> None:
        """Begin a transaction that waits for every other one begun like this."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def join(self, connection: Connection, /) -> None:
        """Make sure that the caller's transaction has begun in the database as well."""
        if not connection.in_transaction():
            connection.begin()
        # Python's driver may not have begun yet; a savepoint alone would then be committed by its release.
        raw: Any = connection.connection.dbapi_connection
        driver: Any = connection.dialect.get_driver_connection(raw)
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def prepare(self, tx: Transaction, /) -> None:
        """Nothing: the pragmas are set when a connection is made."""

    async def hold(self, tx: Transaction, places: Sequence[Place], wait_max_s: float | None, /) -> None:
        """Nothing: the write lock is held already."""

    async def read(self, tx: Transaction, places: Sequence[Place], /) -> Snapshot:
        """The cells, and the store's time after they were read."""
        found: dict[Place, Found | None] = dict.fromkeys(places)
        for start in range(0, len(places), 1024):
            some = places[start : start + 1024]
            # The number of places is rounded up to a power of two, so that few statements are ever prepared.
            power = (len(some) - 1).bit_length()
            padded = [*some, *[some[-1]] * ((1 << power) - len(some))]
            for space, key, version, state, last_us in await tx.fetch(_READS[power], *chain.from_iterable(padded)):
                found[space, key] = Found(version, state, last_us)
        return Snapshot(found, SYSTEM.now_us() + self.shift_us)

    async def write(self, tx: Transaction, changes: Sequence[Change], topics: Sequence[str], /) -> set[Place]:
        """Make the changes, all of them: the transaction has let nobody in between."""
        rows = [
            (
                *change.key,
                next_version(change),
                change.payload,
                change.last_us,
                expiry_us(change.last_us, change.keep_s),
            )
            for change in changes
            if change.payload is not GONE and change.payload is not UNCHANGED
        ]
        if rows:
            await tx.run_each(_WRITE, rows)
        gone = [change.key for change in changes if change.payload is GONE]
        if gone:
            await tx.run_each(_DELETE, gone)
        if topics and not rows and not gone:
            await tx.execute(_RING)
        return set()

    async def sweep(self, tx: Transaction, limit: int, /) -> int:
        """Delete up to `limit` cells whose time has passed; how many."""
        await tx.fetch(_SWEEP, SYSTEM.now_us() + self.shift_us - _SLACK_US, limit)
        [[gone]] = await tx.fetch(_SWEPT)
        return int(gone)


async def data_version(tx: Transaction) -> int:
    """A number that changes when any other connection, here or in another process, has committed."""
    [[seen]] = await tx.fetch(_LOOK)
    return int(seen)


def check_is_file(url: URL) -> None:
    """Raise ValueError for a database in memory."""
    if url.database in {None, "", ":memory:"}:
        raise ValueError(
            "a SQLite database in memory ends with its connection, and this backend has several:"
            " give a file, or use sdpatterns.backends.memory.MemoryBackend"
        )


def sqlite_engine(url: URL, *, timeout_s: float, durable: bool) -> Engine:
    """An engine on the file, whatever driver the URL names; each connection may change threads."""
    engine = create_engine(
        url.set(drivername="sqlite"),
        poolclass=QueuePool,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": timeout_s},
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: object) -> None:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode = wal")
        connection.execute(f"PRAGMA synchronous = {'full' if durable else 'normal'}")

    return engine
