"""Messages in SQLite: one transaction for each batch, behind the file's write lock, so that nothing comes between.

That lock is all that the order of a key needs, so there are no markers here: see `postgres.queue`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdpatterns.backends.sqlalchemy.engine.requests import Done
from sdpatterns.backends.sqlalchemy.engine.transactions import Statement, Transaction
from sdpatterns.backends.sqlalchemy.messages.rows import (
    BEHIND,
    DUE,
    LATER,
    ClaimOrder,
    Ending,
    Extension,
    LetterPage,
    MessageRow,
    Taken,
    claimed,
    in_turn,
    parked,
)
from sdpatterns.backends.sqlalchemy.messages.verbs import COUNTED_MAX, Verb
from sdpatterns.backends.sqlalchemy.sqlite.dialect import SQLiteDialect
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.fence import next_fence
from sdpatterns.ports.queue import QueueDepth

__all__ = ["SQLiteMessages"]

# ruff: noqa: S608 - every statement here is put together from the constants of this file

_HERE = " WHERE queue = ? AND id = ?"
_FIND = Statement(f"SELECT key, state, is_leased, due_us, fence, rank_us FROM sdp_messages{_HERE}")
_FIRST = Statement(
    "SELECT id, state, due_us, rank_us FROM sdp_messages WHERE queue = ? AND key = ? ORDER BY number LIMIT 1"
)
_LAST = Statement("SELECT max(number) FROM sdp_messages WHERE queue = ? AND key = ?")
_INSERT = Statement(
    "INSERT INTO sdp_messages (queue, id, number, key, tenant, state, is_leased, due_us, rank_us, order_us, fence,"
    " attempt, published_us, payload, headers) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, 0, 0, ?, ?, ?)"
)
_DELETE = Statement(f"DELETE FROM sdp_messages{_HERE}")

_TENANTS = (
    "WITH RECURSIVE t (tenant) AS (SELECT min(tenant) FROM sdp_messages WHERE queue = ? AND state = 0 AND {0} UNION ALL"
    " SELECT (SELECT min(m.tenant) FROM sdp_messages m"
    " WHERE m.queue = ? AND m.state = 0 AND {1} AND m.tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL)"
    " SELECT tenant FROM t WHERE tenant IS NOT NULL LIMIT ?"
)
_TENANTS_BEHIND = Statement(_TENANTS.format("tenant > ?", "m.tenant > ?"))
_TENANTS_UP_TO = Statement(_TENANTS.format("tenant <= ?", "m.tenant <= ?"))
_DUE = Statement(
    "SELECT id, payload, headers, key, tenant, fence, attempt, published_us FROM sdp_messages"
    " WHERE queue = ? AND tenant = ? AND state = 0 ORDER BY order_us, number LIMIT ? OFFSET ?"
)
_LEASE = Statement(f"UPDATE sdp_messages SET state = 1, is_leased = 1, due_us = ?, fence = ?, attempt = ?{_HERE}")
_NEXT = Statement("SELECT min(due_us) FROM sdp_messages WHERE queue = ? AND state = 1")
_PROMOTE = Statement(
    "UPDATE sdp_messages SET state = 0, order_us = due_us + rank_us WHERE (queue, id) IN (SELECT queue, id"
    " FROM sdp_messages WHERE queue = ? AND state = 1 AND due_us <= ? ORDER BY due_us LIMIT 1000)"
)
_EXTEND = Statement(f"UPDATE sdp_messages SET state = 1, due_us = ?{_HERE}")
_PLACE = Statement(f"UPDATE sdp_messages SET state = ?, order_us = ?{_HERE}")
_REQUEUE = Statement(
    "UPDATE sdp_messages SET state = ?, is_leased = 0, due_us = ?, order_us = ?, attempt = attempt - ?,"
    f" payload = coalesce(?, payload), headers = coalesce(?, headers){_HERE}"
)

_KEEP = Statement(
    "INSERT INTO sdp_parked (queue, id, key, tenant, rank_us, attempt, published_us, parked_us, expires_us, reason,"
    " payload, headers) SELECT queue, id, key, tenant, rank_us, attempt, published_us, ?, ?, ?, payload, headers"
    f" FROM sdp_messages{_HERE}"
)
_FIND_PARKED = Statement(
    f"SELECT key, tenant, rank_us, published_us, payload, headers, expires_us FROM sdp_parked{_HERE}"
)
_DISCARD = Statement(f"DELETE FROM sdp_parked{_HERE}")
_PARKED = Statement(
    "SELECT position, id, payload, headers, key, tenant, attempt, reason, published_us, parked_us FROM sdp_parked"
    " WHERE queue = ? AND expires_us > ? AND position > ? ORDER BY position LIMIT ?"
)
_SWEEP = Statement(
    "DELETE FROM sdp_parked WHERE position IN (SELECT position FROM sdp_parked"
    " WHERE queue = ? AND expires_us <= ? ORDER BY expires_us LIMIT ?)"
)
# Not RETURNING, which a SQLite before 3.35 does not know.
_CHANGES = Statement("SELECT changes()")

# Each part reads a bounded piece of one index. A part for all states would have to read all rows of the queue.
_DEPTH = Statement(
    "WITH at AS (SELECT ? AS now_us, ? AS queue), ready AS (SELECT due_us FROM sdp_messages, at"
    " WHERE sdp_messages.queue = at.queue AND state = 0"
    f" ORDER BY tenant, order_us, number LIMIT {COUNTED_MAX}),"
    " later AS (SELECT due_us, is_leased, payload IS NOT NULL AS is_message FROM sdp_messages, at"
    f" WHERE sdp_messages.queue = at.queue AND state = 1 ORDER BY due_us LIMIT {COUNTED_MAX}),"
    " keyed AS (SELECT state FROM sdp_messages, at WHERE sdp_messages.queue = at.queue AND key IS NOT NULL"
    f" ORDER BY key, number LIMIT {COUNTED_MAX}),"
    " kept AS (SELECT 1 FROM sdp_parked, at WHERE sdp_parked.queue = at.queue AND expires_us > at.now_us"
    f" LIMIT {COUNTED_MAX}),"
    " m AS (SELECT due_us, 0 AS is_leased, 1 AS is_message FROM ready UNION ALL SELECT * FROM later)"
    " SELECT coalesce(sum(is_message AND due_us <= now_us), 0),"
    " coalesce(sum(is_message AND due_us > now_us AND NOT is_leased), 0)"
    " + (SELECT count(*) FROM keyed WHERE state = 2),"
    " coalesce(sum(is_message AND due_us > now_us AND is_leased), 0), (SELECT count(*) FROM kept),"
    " max(now_us) - min(CASE WHEN is_message AND due_us <= now_us THEN due_us END),"
    " max((SELECT count(*) FROM ready), (SELECT count(*) FROM later), (SELECT count(*) FROM keyed),"
    f" (SELECT count(*) FROM kept)) >= {COUNTED_MAX} FROM m, at"
)


class SQLiteMessages:
    """See `VerbTable`."""

    def __init__(self, dialect: SQLiteDialect) -> None:
        self._dialect = dialect

    def is_whole(self, verb: Verb, items: Sequence[Any], /) -> bool:
        """True: everything runs in a transaction here."""
        return True

    async def run(self, verb: Verb, tx: Transaction, queue: str, items: Sequence[Any], /, *, wait_max_s: float) -> Done:
        """Do it. Nobody else can hold anything."""
        done: Done = await getattr(_Locked(tx, queue, SYSTEM.now_us() + self._dialect.shift_us), verb)(items)
        return done


class _Locked:
    """One verb on one queue, under the write lock."""

    def __init__(self, tx: Transaction, queue: str, now_us: int) -> None:
        self._tx = tx
        self._queue = queue
        self._now_us = now_us
        self._number = now_us
        self._is_news = False

    async def _one(self, statement: Statement, *parameters: Any) -> Sequence[Any] | None:
        rows = await self._tx.fetch(statement, *parameters)
        return rows[0] if rows else None

    async def publish(self, rows: Sequence[MessageRow]) -> Done:
        return Done([await self._publish(row) for row in rows], self._is_news)

    async def _publish(self, row: MessageRow) -> bool:
        there = await self._one(_FIND, self._queue, row.id)
        if there is not None:
            if not row.replace or self._is_out(there):
                return False
            await self._take_out(row.id, there[0])
        letter = await self._one(_FIND_PARKED, self._queue, row.id)
        if letter is not None:
            if not row.replace and letter[6] > self._now_us:
                return False
            await self._tx.fetch(_DISCARD, self._queue, row.id)
        await self._insert(row, self._now_us)
        return True

    async def _insert(self, row: MessageRow, published_us: int) -> None:
        due_us, state = self._now_us + row.delay_us, LATER if row.delay_us else DUE
        number = self._number = self._number + 1
        if row.key is not None:
            [[last]] = await self._tx.fetch(_LAST, self._queue, row.key)
            if last is not None:
                # Larger than those before it, also when the clock was set back.
                number, state = max(number, last + 1), BEHIND
        self._is_news = self._is_news or state != BEHIND
        await self._tx.fetch(
            _INSERT, self._queue, row.id, number, row.key, row.tenant, state, due_us, row.rank_us, due_us + row.rank_us,
            published_us, row.payload, row.headers,
        )  # fmt: skip

    def _is_out(self, there: Sequence[Any]) -> bool:
        _, state, is_leased, due_us, _, _ = there
        return bool(is_leased) and state == LATER and due_us > self._now_us

    async def _take_out(self, name: str, key: str | None) -> None:
        """Delete a message, and let the next of its key go if it was the first."""
        await self._tx.fetch(_DELETE, self._queue, name)
        if key is None:
            return
        first = await self._one(_FIRST, self._queue, key)
        if first is None or first[1] != BEHIND:
            return
        name, _, due_us, rank_us = first
        state = LATER if due_us > self._now_us else DUE
        self._is_news = True
        await self._tx.fetch(_PLACE, state, due_us + rank_us, self._queue, name)

    async def claim(self, items: Sequence[ClaimOrder]) -> Done:
        return Done([await self._claim(item) for item in items])

    async def _claim(self, item: ClaimOrder) -> Taken:
        await self._tx.fetch(_PROMOTE, self._queue, self._now_us)
        [[next_us]] = await self._tx.fetch(_NEXT, self._queue)
        turns = in_turn([(row[4], row) for row in await self._due(item)], item.after)
        until_us = self._now_us + item.lease_us
        messages = []
        for _, row in turns:
            fence, attempt = next_fence(row[5], self._now_us), row[6] + 1
            await self._tx.fetch(_LEASE, until_us, fence, attempt, self._queue, row[0])
            messages.append(claimed((*row[:5], fence, attempt, row[7], until_us)))
        wait_us = None if next_us is None else next_us - self._now_us
        return Taken(messages, [], turns[-1][0] if turns else item.after, wait_us, item.n)

    async def _due(self, item: ClaimOrder) -> Sequence[Any]:
        """Rows of messages that are due: of each tenant its share, then more of those that have more."""
        tenants = await self._tenants(item)
        share = -(-item.n // max(1, len(tenants)))
        rows, full = list[Any](), list[str]()
        for tenant in tenants:
            some = await self._tx.fetch(_DUE, self._queue, tenant, min(share, item.n - len(rows)), 0)
            rows += some
            if len(some) == share:
                full.append(tenant)
        for tenant in full:
            rows += await self._tx.fetch(_DUE, self._queue, tenant, item.n - len(rows), share)
        return rows

    async def _tenants(self, item: ClaimOrder) -> list[str]:
        """Tenants with messages that are due, those behind the last one first."""
        found: list[str] = []
        for tenants in (_TENANTS_BEHIND, _TENANTS_UP_TO):
            parameters = (self._queue, item.after) * 2
            found += [tenant for [tenant] in await self._tx.fetch(tenants, *parameters, item.n - len(found))]
        return found

    async def promote(self, items: Sequence[int]) -> Done:
        await self._tx.fetch(_PROMOTE, self._queue, self._now_us)
        return Done([None] * len(items))

    async def extend(self, items: Sequence[Extension]) -> Done:
        answers = []
        for item in items:
            mine = await self._mine(item.id, item.fence) is not None
            if mine:
                await self._tx.fetch(_EXTEND, self._now_us + item.lease_us, self._queue, item.id)
            answers.append(mine)
        return Done(answers)

    async def _mine(self, name: str, fence: int) -> Sequence[Any] | None:
        there = await self._one(_FIND, self._queue, name)
        return there if there is not None and there[2] and there[4] == fence else None

    async def settle(self, items: Sequence[Ending]) -> Done:
        return Done([await self._settle(item) for item in items], self._is_news)

    async def _settle(self, item: Ending) -> bool:
        there = await self._mine(item.id, item.fence)
        if there is None:
            return False
        if item.after_us is None:
            if item.reason is not None:
                expires_us = self._now_us + item.keep_us
                await self._tx.fetch(_KEEP, self._now_us, expires_us, item.reason, self._queue, item.id)
            await self._take_out(item.id, there[0])
            return True
        due_us, state = self._now_us + item.after_us, LATER if item.after_us else DUE
        self._is_news = True
        await self._tx.fetch(
            _REQUEUE, state, due_us, due_us + there[5], item.uncounted, item.payload, item.headers, self._queue, item.id
        )
        return True

    async def depth(self, items: Sequence[None]) -> Done:
        [[due, waiting, leased, kept, lag_us, at_least]] = await self._tx.fetch(_DEPTH, self._now_us, self._queue)
        return Done([QueueDepth(due, waiting, leased, kept, (lag_us or 0) / 1e6, bool(at_least))] * len(items))

    async def withdraw(self, items: Sequence[str]) -> Done:
        answers = []
        for name in items:
            there = await self._one(_FIND, self._queue, name)
            waits = there is not None and not self._is_out(there)
            if there is not None and waits:
                await self._take_out(name, there[0])
            answers.append(waits)
        return Done(answers, self._is_news)

    async def parked(self, items: Sequence[LetterPage]) -> Done:
        pages = [await self._tx.fetch(_PARKED, self._queue, self._now_us, page.after, page.limit) for page in items]
        return Done([[parked(row) for row in page] for page in pages])

    async def redrive(self, items: Sequence[str]) -> Done:
        answers = []
        for name in items:
            letter = await self._letter(name)
            if letter is not None:
                key, tenant, rank_us, published_us, payload, headers, _ = letter
                await self._tx.fetch(_DISCARD, self._queue, name)
                await self._insert(
                    MessageRow(name, key, tenant, 0, rank_us, payload, headers, replace=False), published_us
                )
            answers.append(letter is not None)
        return Done(answers, self._is_news)

    async def _letter(self, name: str) -> Sequence[Any] | None:
        letter = await self._one(_FIND_PARKED, self._queue, name)
        return letter if letter is not None and letter[6] > self._now_us else None

    async def discard(self, items: Sequence[str]) -> Done:
        answers = []
        for name in items:
            answers.append(await self._letter(name) is not None)
            await self._tx.fetch(_DISCARD, self._queue, name)
        return Done(answers)

    async def sweep(self, items: Sequence[int]) -> Done:
        answers = []
        for most in items:
            await self._tx.fetch(_SWEEP, self._queue, self._now_us, most)
            [[gone]] = await self._tx.fetch(_CHANGES)
            answers.append(gone)
        return Done(answers)
