"""Cells in SQLite: one transaction for everything that waits, behind the file's write lock."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from sdpatterns.backends.sqlalchemy.cells.rows import Place, expiry_us, next_version
from sdpatterns.backends.sqlalchemy.engine.transactions import ForEachRow, Statement, Transaction
from sdpatterns.backends.sqlalchemy.sqlite.dialect import SQLiteDialect
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.ports.engine.steps import Change, Found, Snapshot

__all__ = ["SQLiteCells"]

_SLACK_US = 60_000_000
"""Clocks of processes may differ by a stepped wall clock; garbage waits a minute longer."""

_READ = "SELECT space, key, version, state, last_us FROM sdp_cells WHERE (space, key) IN (VALUES {})"
_WRITE = ForEachRow(
    "INSERT INTO sdp_cells (space, key, version, state, last_us, expires_us) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (space, key) DO UPDATE SET version = excluded.version, state = excluded.state,"
    " last_us = excluded.last_us, expires_us = excluded.expires_us"
)
_DELETE = ForEachRow("DELETE FROM sdp_cells WHERE space = ? AND key = ?")
_SWEEP = Statement(
    "DELETE FROM sdp_cells WHERE (space, key) IN"
    " (SELECT space, key FROM sdp_cells WHERE expires_us < ? ORDER BY expires_us LIMIT ?)"
)
_SWEPT = Statement("SELECT changes()")
_RING = "UPDATE sdp_schema SET notified = notified + 1"

_READS = [Statement(_READ.format(", ".join(["(?, ?)"] * (1 << power)))) for power in range(11)]


class SQLiteCells:
    """See `CellTable`."""

    def __init__(self, dialect: SQLiteDialect) -> None:
        self._dialect = dialect

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
        return Snapshot(found, SYSTEM.now_us() + self._dialect.shift_us)

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
            await tx.fetch(_WRITE, rows)
        gone = [change.key for change in changes if change.payload is GONE]
        if gone:
            await tx.fetch(_DELETE, gone)
        # Processes that listen see a changed file. With nothing to write, a counter changes it for them.
        if topics and not rows and not gone:
            await tx.execute(_RING)
        return set()

    async def sweep(self, tx: Transaction, limit: int, /) -> int:
        """Delete up to `limit` cells whose time has passed; how many."""
        await tx.fetch(_SWEEP, SYSTEM.now_us() + self._dialect.shift_us - _SLACK_US, limit)
        # Not RETURNING, which a SQLite before 3.35 does not know.
        [[gone]] = await tx.fetch(_SWEPT)
        return int(gone)
