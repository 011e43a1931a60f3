"""Messages in Postgres: a statement waits for another transaction only if that one publishes to the same key.

The statements are in `messages`. What ends the first message of a key needs the key's lock to make the next one due.
It only tries the lock: where a transaction that publishes holds it, the message is gone all the same and leaves a
marker, which a worker clears later.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from secrets import token_hex
from typing import Any, TypeVar

from sdpatterns.backends.sqlalchemy.engine.requests import Done
from sdpatterns.backends.sqlalchemy.engine.transactions import Statement, Transaction
from sdpatterns.backends.sqlalchemy.messages.rows import (
    MARKER_US,
    ClaimOrder,
    Ending,
    Extension,
    LetterPage,
    MessageRow,
    Taken,
    claimed,
    in_turn,
    parked,
    runs,
)
from sdpatterns.backends.sqlalchemy.messages.verbs import Verb
from sdpatterns.backends.sqlalchemy.postgres import queue_statements as sql
from sdpatterns.backends.sqlalchemy.postgres.dialect import PostgresDialect, limit_wait
from sdpatterns.ports.queue import QueueDepth

__all__ = ["PostgresMessages"]

T = TypeVar("T")


class PostgresMessages:
    """See `VerbTable`."""

    def __init__(self, dialect: PostgresDialect) -> None:
        self._dialect = dialect

    def is_whole(self, verb: Verb, items: Sequence[Any], /) -> bool:
        """Whether there is more than one statement that writes."""
        if verb == "publish":
            return any(row.key is not None or row.replace for row in items) or len(runs(items)) > 1
        if verb == "settle":
            return any(map(_hands_over, items)) or len({item.after_us is None for item in items}) > 1
        if verb == "extend":
            return len({item.lease_us for item in items}) > 1
        return verb in {"clear", "withdraw", "redrive"}

    async def run(
        self, verb: Verb, tx: Transaction, queue: str, items: Sequence[Any], /, *, wait_max_s: float
    ) -> Done | None:
        """Do it; None where another client holds what it needs."""
        await limit_wait(tx, wait_max_s)
        done: Done | None = await getattr(_Work(tx, queue, self._dialect.shift_us, wait=wait_max_s > 0), verb)(items)
        return done


class _Work:
    """One verb on one queue in one transaction."""

    def __init__(self, tx: Transaction, queue: str, shift_us: int, *, wait: bool) -> None:
        self._tx = tx
        self._queue = queue
        self._shift_us = shift_us
        self._wait = wait
        self._sees_new = True

    async def _fetch(self, statement: Statement, *parameters: Any) -> Sequence[Sequence[Any]]:
        shift = (self._shift_us,) if statement.names[-1] == "shift_us" else ()
        return await self._tx.fetch(statement, self._queue, *parameters, *shift)

    # ---- publish

    async def publish(self, rows: Sequence[MessageRow]) -> Done | None:
        keys = {row.key for row in rows if row.key is not None}
        replaced = [row.id for row in rows if row.replace]
        if replaced:
            keys.update([key for [key] in await self._fetch(sql.KEYS_OF, replaced)])
        if keys and not await self._lock(keys):
            return None
        answers: list[bool] = []
        for run in runs(rows):
            if run[0].replace:
                names = [row.id for row in run]
                await self._take_out(names)
                await self._fetch(sql.DISCARD, names)
            answers += await self._insert(run)
        return Done(answers, any(answers))

    async def _lock(self, keys: Collection[str]) -> bool:
        """Keep others from publishing to the keys, and from handing over in them, until the transaction ends."""
        found = await self._fetch(sql.LOCK if self._wait else sql.TRY_LOCK, sorted(keys))
        self._sees_new = found[0][0]
        return all(is_locked is not False for _, is_locked in found)

    async def _insert(self, rows: Sequence[MessageRow], published: Sequence[int] | None = None) -> list[bool]:
        columns: Any = _columns(rows)
        given = [*columns[:5], published or [0] * len(rows), *columns[5:7]]
        keys = {row.key for row in rows if row.key is not None}
        if not keys:
            added = {name for [name] in await self._fetch(sql.INSERT, *given)}
        else:
            added = {name for [name] in await self._fetch(sql.INSERT_WITH_KEYS, *given, int(self._sees_new))}
            if not self._sees_new:
                # What was committed since the transaction began is not seen: a worker finds out who is first.
                wanted = sorted({row.key for row in rows if row.key is not None and row.id in added})
                await self._fetch(sql.MARKERS, [f"\\n{token_hex(8)}" for _ in wanted], wanted)
            elif len(added) < len(rows):
                # One that was not added after all may be the one behind which others stand.
                await self._fetch(sql.FINISH, [], sorted(keys))
        return [row.id in added for row in rows]

    # ---- claim

    async def claim(self, items: Sequence[ClaimOrder]) -> Done:
        return Done([await self._claim(item) for item in items])

    async def _claim(self, item: ClaimOrder) -> Taken:
        found = await self._fetch(sql.CLAIM, item.after, item.n, item.lease_us)
        # Where nothing is due there is a row all the same, which says when something will be.
        rows = [row for row in found if row[0] is not None]
        messages = in_turn([(row[4], claimed(row[:9])) for row in rows if row[1] is not None], item.after)
        markers = [(row[0], row[5]) for row in rows if row[1] is None]
        last = messages[-1][0] if messages else item.after
        return Taken([message for _, message in messages], markers, last, found[0][-1], found[0][-2])

    async def promote(self, items: Sequence[int]) -> Done:
        for most in items:
            await self._fetch(sql.PROMOTE, most)
        return Done([None] * len(items))

    async def extend(self, items: Sequence[Extension]) -> Done:
        found: set[tuple[str, int]] = set()
        for lease_us in {item.lease_us for item in items}:
            claims = [(item.id, item.fence) for item in items if item.lease_us == lease_us]
            found |= await self._pairs(sql.EXTEND, *_columns(claims), lease_us)
        return Done([(item.id, item.fence) in found for item in items])

    # ---- settle

    async def settle(self, items: Sequence[Ending]) -> Done | None:
        # A claim is ended once: by the first of several.
        wanted = {(item.id, item.fence): item for item in reversed(items)}.values()
        ended, is_news = set[tuple[str, int]](), False
        complete = [item for item in wanted if item.after_us is None and not _hands_over(item)]
        requeue = [item for item in wanted if item.after_us is not None]
        slow = [item for item in wanted if _hands_over(item)]
        if complete:
            ended.update(await self._pairs(sql.COMPLETE, *_columns([(item.id, item.fence) for item in complete])))
        if requeue:
            rows = [(i.id, i.fence, i.after_us, i.uncounted, i.payload, i.headers) for i in requeue]
            back = await self._pairs(sql.REQUEUE, *_columns(rows))
            ended.update(back)
            is_news = bool(back)
        if slow:
            found, was_news = await self._end(slow)
            ended.update(found)
            is_news = is_news or was_news
        return Done(_firsts([(item.id, item.fence) for item in items], ended), is_news)

    async def _pairs(self, statement: Statement, *parameters: Any) -> set[tuple[str, int]]:
        return {(name, fence) for name, fence in await self._fetch(statement, *parameters)}

    async def _end(self, items: Sequence[Ending]) -> tuple[set[tuple[str, int]], bool]:
        """Complete or park what has a key; which of them, and whether others became due."""
        held = await self._fetch(sql.HOLD, [item.id for item in items], [item.fence for item in items])
        found = {(name, fence) for name, _, _, fence in held}
        letters = [item for item in items if item.reason is not None and (item.id, item.fence) in found]
        if letters:
            await self._fetch(sql.KEEP, *_columns([(item.id, item.reason, item.keep_us) for item in letters]))
        return found, await self._finish(held)

    async def _finish(self, held: Sequence[Sequence[Any]]) -> bool:
        """Delete rows that are locked, and let the next of their keys go; whether any does."""
        ready, marked = [row for row in held if row[2]], [row[0] for row in held if not row[2]]
        gone: Sequence[Any] = ()
        if ready:
            keys = {row[1] for row in ready if row[1] is not None}
            gone = await self._fetch(sql.FINISH, [row[0] for row in ready], sorted(keys))
        if marked:
            await self._fetch(sql.MARK, marked, MARKER_US)
        return bool(gone)

    async def clear(self, items: Sequence[tuple[str, int]]) -> Done:
        """Markers: let the first message of their keys go, or leave them for a while."""
        held = await self._fetch(sql.HOLD, *_columns(items))
        return Done([None] * len(items), await self._finish(held))

    # ---- upkeep

    async def depth(self, items: Sequence[None]) -> Done:
        [[due, waiting, leased, kept, lag_us, at_least]] = await self._fetch(sql.DEPTH)
        return Done([QueueDepth(due, waiting, leased, kept, max(0, lag_us) / 1e6, at_least)] * len(items))

    async def withdraw(self, items: Sequence[str]) -> Done:
        out = await self._take_out(items)
        return Done(_firsts(items, out), bool(out))

    async def _take_out(self, names: Sequence[str]) -> Collection[str]:
        """Delete messages that no worker has; which."""
        held = await self._fetch(sql.HOLD_WAITING, names)
        await self._finish(held)
        return {row[0] for row in held}

    async def parked(self, items: Sequence[LetterPage]) -> Done:
        return Done([[parked(row) for row in await self._fetch(sql.PARKED, page.after, page.limit)] for page in items])

    async def redrive(self, items: Sequence[str]) -> Done | None:
        held = {row[0]: row for row in await self._fetch(sql.HOLD_PARKED, items)}
        keys = {row[1] for row in held.values() if row[1] is not None}
        if keys and not await self._lock(keys):
            return None
        names = [name for name in dict.fromkeys(items) if name in held]
        if names:
            await self._fetch(sql.DISCARD, names)
            rows = [held[name] for name in names]
            await self._insert(
                [
                    MessageRow(name, key, tenant, 0, rank_us, bytes(body), headers, replace=False)
                    for name, key, tenant, rank_us, _, body, headers in rows
                ],
                [row[4] for row in rows],
            )
        return Done(_firsts(items, names), bool(names))

    async def discard(self, items: Sequence[str]) -> Done:
        found = await self._fetch(sql.DISCARD, items)
        return Done(_firsts(items, {name for name, was_kept in found if was_kept}))

    async def sweep(self, items: Sequence[int]) -> Done:
        return Done([(await self._fetch(sql.SWEEP, most))[0][0] for most in items])


def _hands_over(item: Ending) -> bool:
    """Whether more is to be done than to delete the message."""
    return item.reason is not None or (item.key is not None and item.after_us is None)


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _firsts(items: Sequence[T], found: Collection[T]) -> list[bool]:
    """For each whether it was found, once: the second of two finds nothing any more."""
    left = set(found)
    answers: list[bool] = []
    for item in items:
        answers.append(item in left)
        left.discard(item)
    return answers
