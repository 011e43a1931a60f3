"""Cells in Postgres: one read and one versioned write for everything that waits.

A step reads its rows without a lock and writes them only where their versions are still the same;
what others wrote first is decided again. A row that another transaction holds is passed over, not
waited for, so that one slow transaction never stops the steps on other keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdpatterns.backends.sqlalchemy.cells.rows import Place, expiry_us, next_version
from sdpatterns.backends.sqlalchemy.engine.transactions import Statement, Transaction
from sdpatterns.backends.sqlalchemy.postgres.dialect import NOW, PostgresDialect
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.ports.engine.steps import Change, Found, Snapshot

__all__ = ["PostgresCells"]

# ruff: noqa: S608 - every statement here is put together from the constants of this file

_WAIT_SLICE_S = 1.0
# Clocks of clients play no part here, but the server's may be set back: garbage waits a minute longer.
_SLACK_US = 60_000_000

_PLACES = {"spaces": "text[]", "keys": "text[]"}

# LEFT JOIN, so that a cell that does not exist has a row too, and with it the time.
_READ = Statement(
    f"SELECT w.space, w.key, c.version, c.state, c.last_us, {NOW}"
    " FROM unnest(:spaces, :keys) AS w (space, key)"
    " LEFT JOIN sdp_cells c ON c.space = w.space AND c.key = w.key",
    **_PLACES,
)

# In order, because two that lock the same rows in two orders would wait for each other.
_HOLD = Statement(
    "SELECT 1 FROM unnest(:spaces, :keys) AS w (space, key)"
    " JOIN sdp_cells c ON c.space = w.space AND c.key = w.key"
    " ORDER BY c.space, c.key FOR UPDATE OF c",
    **_PLACES,
)

# Each change lands or not by itself: `free` locks the rows that still have the version expected, and passes over those
# that others hold. A row changes only through `free`, so that all that follows sees the same set.
_CHANGE = """
WITH w AS MATERIALIZED (
  SELECT * FROM unnest(:spaces, :keys, :expected, :versions, :states, :last_us, :expires_us)
    AS w (space, key, expected, version, state, last_us, expires_us)
), free AS MATERIALIZED (
  SELECT c.space, c.key FROM w JOIN sdp_cells c ON c.space = w.space AND c.key = w.key AND c.version = w.expected
  WHERE w.expected > 0 FOR UPDATE OF c SKIP LOCKED
), changed AS (
  UPDATE sdp_cells c
  SET version = w.version, state = w.state, last_us = w.last_us, expires_us = w.expires_us
  FROM w JOIN free USING (space, key)
  WHERE c.space = w.space AND c.key = w.key AND w.state IS NOT NULL RETURNING c.space, c.key
), dropped AS (
  DELETE FROM sdp_cells c USING w JOIN free USING (space, key)
  WHERE c.space = w.space AND c.key = w.key AND w.state IS NULL AND w.version <> w.expected RETURNING c.space, c.key
), compared AS (
  SELECT space, key FROM w JOIN free USING (space, key) WHERE w.version = w.expected
), made AS (
  INSERT INTO sdp_cells (space, key, version, state, last_us, expires_us)
  SELECT space, key, version, state, last_us, expires_us FROM w WHERE expected = 0
  ON CONFLICT DO NOTHING RETURNING space, key
), landed AS (
  SELECT * FROM changed UNION ALL SELECT * FROM dropped UNION ALL SELECT * FROM compared UNION ALL SELECT * FROM made
) SELECT space, key FROM landed"""
_COLUMNS = _PLACES | {
    "expected": "bigint[]",
    "versions": "bigint[]",
    "states": "bytea[]",
    "last_us": "bigint[]",
    "expires_us": "bigint[]",
}
_WRITE = Statement(_CHANGE, **_COLUMNS)

_DROP = Statement(
    "DELETE FROM sdp_cells c USING unnest(:spaces, :keys) AS w (space, key) WHERE c.space = w.space AND c.key = w.key",
    **_PLACES,
)

_SWEEP = Statement(
    "WITH gone AS (DELETE FROM sdp_cells WHERE (space, key) IN (SELECT space, key FROM sdp_cells"
    f" WHERE expires_us < {NOW} + :shift_us ORDER BY expires_us LIMIT :at_most FOR UPDATE SKIP LOCKED)"
    " RETURNING 1) SELECT count(*) FROM gone",
    shift_us="bigint",
    at_most="bigint",
)


class PostgresCells:
    """See `CellTable`."""

    def __init__(self, dialect: PostgresDialect) -> None:
        self._dialect = dialect

    async def hold(self, tx: Transaction, places: Sequence[Place], wait_max_s: float | None, /) -> None:
        """Lock the rows that exist, waiting for those that hold one, up to a bound."""
        if wait_max_s is not None:
            # In slices, so that a caller whose deadline has passed hears of it.
            wait_ms = max(1, round(1000 * min(_WAIT_SLICE_S, wait_max_s)))
            await tx.execute(f"SET LOCAL lock_timeout = '{wait_ms}ms'")
        await tx.fetch(_HOLD, *zip(*places, strict=True))

    async def read(self, tx: Transaction, places: Sequence[Place], /) -> Snapshot:
        """The cells, and the store's time after they were read."""
        found: dict[Place, Found | None] = {}
        now_us = 0
        for space, key, version, state, last_us, read_us in await tx.fetch(_READ, *zip(*places, strict=True)):
            found[space, key] = None if version is None else Found(version, state, last_us)
            # Each row says when it was read: the latest of these times is after all of them.
            now_us = max(now_us, read_us)
        return Snapshot(found, now_us + self._dialect.shift_us)

    async def write(self, tx: Transaction, changes: Sequence[Change], topics: Sequence[str], /) -> set[Place]:
        """Make the changes whose cells nobody changed meanwhile; the places of the others."""
        if not changes:
            return set()
        # One pass over the changes, turned into columns by `zip`: there may be hundreds.
        landed = await tx.fetch(_WRITE, *zip(*map(_row, changes), strict=True))
        if len(landed) < len(changes):
            # If a step on several cells is among them, the transaction ends with ROLLBACK.
            return {change.key for change in changes}.difference(map(tuple, landed))
        if len(changes) > 1:
            # Made above to be compared.
            absent = [change.key for change in changes if change.payload is UNCHANGED and change.expected is None]
            if absent:
                await tx.fetch(_DROP, *zip(*absent, strict=True))
        return set()

    async def sweep(self, tx: Transaction, limit: int, /) -> int:
        """Delete up to `limit` cells whose time has passed; how many."""
        [[gone]] = await tx.fetch(_SWEEP, self._dialect.shift_us - _SLACK_US, limit)
        return int(gone)


def _row(change: Change) -> tuple[str, str, int, int, bytes | None, int, int]:
    """As `_COLUMNS` says."""
    expected: int = change.expected or 0
    version, state = next_version(change), None
    if change.payload is not UNCHANGED:
        state = None if change.payload is GONE else change.payload
    elif expected:
        # A row whose version stays as it was found is compared and not written.
        version = expected
    else:
        # A cell that must stay absent is made, which keeps others from making it, and dropped at once.
        state = b""
    return *change.key, expected, version, state, change.last_us, expiry_us(change.last_us, change.keep_s)
