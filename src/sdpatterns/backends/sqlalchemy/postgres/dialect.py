"""What Postgres understands, whatever the port."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.engine.dialect import Unit, payload
from sdpatterns.backends.sqlalchemy.engine.transactions import Statement, Transaction

__all__ = ["CHANNEL", "NOW", "PostgresDialect", "limit_wait", "notify", "prepare"]

CHANNEL = "sdpatterns"
"""Of all notifications: a payload says which topic it is."""

NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
"""The server's time in microseconds. Not `now()`, which is when the transaction began, before it had its rows."""

_ALONE = 0x5D9A_77E2  # any number that no other program is likely to lock
_INSERT_WAIT = "250ms"
_WAIT_SLICE_S = 1.0

_NOTIFY = Statement(
    "SELECT pg_notify(:channel, t.topic) FROM unnest(:topics) AS t (topic)", channel="text", topics="text[]"
)


class PostgresDialect:
    """See `Dialect`."""

    name = "postgresql"

    def __init__(self) -> None:
        self.shift_us = 0

    def begin(self, unit: Unit, /) -> str | None:
        """A transaction only for what one statement cannot do: each costs two more trips."""
        return "BEGIN ISOLATION LEVEL READ COMMITTED" if unit.is_whole else None

    def begin_alone(self, connection: Connection, /) -> None:
        """Begin a transaction that waits for every other one begun like this."""
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ALONE})")

    def join(self, connection: Connection, /) -> None:
        """Nothing: the savepoint begins it."""

    async def notify_at_commit(self, tx: Transaction, topics: Sequence[str], /) -> None:
        """Announce the topics when the transaction commits, and not if it rolls back."""
        await notify(tx, [payload(topic) for topic in topics])


async def notify(tx: Transaction, payloads: Sequence[str]) -> None:
    """Tell all that listen, when the transaction commits."""
    await tx.fetch(_NOTIFY, CHANNEL, payloads)


async def limit_wait(tx: Transaction, wait_max_s: float) -> None:
    """In a transaction that may wait for others: wait no longer than this for a lock, and no longer than a second."""
    # In slices, so that a caller whose deadline has passed hears of it.
    if 0 < wait_max_s < math.inf:
        await tx.execute(f"SET LOCAL lock_timeout = '{max(1, round(1000 * min(_WAIT_SLICE_S, wait_max_s)))}ms'")


async def prepare(tx: Transaction) -> None:
    """Set up the connection on which units run one after another."""
    # Only a key that another transaction is just inserting makes a unit wait, and not for long.
    await tx.execute(f"SET lock_timeout = '{_INSERT_WAIT}'")
    # Each statement finds its rows by an index. A plan that was made while a table was empty stays for long, and must
    # not read all of it once it is full.
    await tx.execute("SET enable_seqscan = off")
