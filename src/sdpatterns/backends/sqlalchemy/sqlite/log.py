"""Events in SQLite: one transaction for each batch, behind the file's write lock, so that positions have no gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdpatterns.backends.sqlalchemy.engine.requests import Done
from sdpatterns.backends.sqlalchemy.engine.transactions import ForEachRow, Statement, Transaction
from sdpatterns.backends.sqlalchemy.events.rows import (
    ANY_VERSION,
    Append,
    Cut,
    Dropping,
    OtherVersion,
    PageFound,
    PageOrder,
    StreamFound,
    StreamOrder,
)
from sdpatterns.backends.sqlalchemy.events.verbs import Verb
from sdpatterns.backends.sqlalchemy.sqlite.dialect import SQLiteDialect
from sdpatterns.core.clock import SYSTEM
from sdpatterns.ports.log import Appended

__all__ = ["SQLiteEvents"]

# ruff: noqa: S608 - every statement here is put together from the constants of this file

_COLUMNS = "version, position, id, type, data, metadata, recorded_us"
_STREAM = " FROM sdp_events WHERE log = ? AND stream = ? AND version"

_LOG = Statement("SELECT position, trimmed, thinned FROM sdp_logs WHERE log = ?")
_NEW_LOG = Statement("INSERT INTO sdp_logs (log, position, trimmed, thinned) VALUES (?, 0, 0, 0)")
_MOVE = Statement("UPDATE sdp_logs SET position = ? WHERE log = ?")
_MARK = Statement("UPDATE sdp_logs SET trimmed = max(trimmed, ?), thinned = max(thinned, ?) WHERE log = ?")
_VERSION = Statement("SELECT version FROM sdp_streams WHERE log = ? AND stream = ?")
_NEW_STREAM = Statement("INSERT INTO sdp_streams (version, log, stream) VALUES (?, ?, ?)")
_NEXT_VERSION = Statement("UPDATE sdp_streams SET version = ? WHERE log = ? AND stream = ?")
_INSERT = ForEachRow(f"INSERT INTO sdp_events (log, stream, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
_THERE = Statement(f"SELECT id, position{_STREAM} > ? AND version <= ? ORDER BY version")
_FORWARD = Statement(f"SELECT {_COLUMNS}{_STREAM} > ? ORDER BY version LIMIT ?")
_BACKWARDS = Statement(f"SELECT {_COLUMNS}{_STREAM} < ? ORDER BY version DESC LIMIT ?")
_PAGE = Statement(f"SELECT {_COLUMNS}, stream FROM sdp_events WHERE log = ? AND position > ? ORDER BY position LIMIT ?")
_LAST_OF = Statement(f"SELECT max(version), max(position){_STREAM} <= ?")
_DROP = Statement(
    "DELETE FROM sdp_events WHERE log = ? AND position IN"
    " (SELECT position FROM sdp_events WHERE log = ? AND position <= ? ORDER BY position LIMIT ?)"
)
_DROP_OF = Statement(
    f"DELETE{_STREAM} IN"
    " (SELECT version FROM sdp_events WHERE log = ? AND stream = ? AND version <= ? ORDER BY version LIMIT ?)"
)
# Not RETURNING, which a SQLite before 3.35 does not know.
_CHANGES = Statement("SELECT changes()")

_FAR = (1 << 63) - 1


class SQLiteEvents:
    """See `VerbTable`."""

    def __init__(self, dialect: SQLiteDialect) -> None:
        self._dialect = dialect

    def is_whole(self, verb: Verb, items: Sequence[Any], /) -> bool:
        """True: everything runs in a transaction here."""
        return True

    async def run(self, verb: Verb, tx: Transaction, log: str, items: Sequence[Any], /, *, wait_max_s: float) -> Done:
        """Do it. Nobody else can hold anything."""
        done: Done = await getattr(_Work(tx, log, SYSTEM.now_us() + self._dialect.shift_us), verb)(items)
        return done


class _Work:
    """One verb on one log, in one transaction."""

    def __init__(self, tx: Transaction, log: str, now_us: int) -> None:
        self._tx = tx
        self._log = log
        self._now_us = now_us

    async def _about(self) -> Sequence[Any] | None:
        rows = await self._tx.fetch(_LOG, self._log)
        return rows[0] if rows else None

    async def append(self, items: Sequence[Append]) -> Done:
        log = await self._about()
        if log is None:
            await self._tx.fetch(_NEW_LOG, self._log)
        position = before = 0 if log is None else log[0]
        answers: list[Appended | OtherVersion] = []
        for item in items:
            answer = await self._append(item, position)
            if isinstance(answer, Appended):
                position = max(position, answer.position)
            answers.append(answer)
        if position > before:
            await self._tx.fetch(_MOVE, position, self._log)
        return Done(answers, position > before)

    async def _append(self, item: Append, position: int) -> Appended | OtherVersion:
        there = await self._tx.fetch(_VERSION, self._log, item.stream)
        found = there[0][0] if there else 0
        if item.expected not in {ANY_VERSION, found}:
            return await self._appended_before(item, found)
        version = found + len(item.ids)
        await self._tx.fetch(_NEXT_VERSION if there else _NEW_STREAM, version, self._log, item.stream)
        log, stream, now_us = self._log, item.stream, self._now_us
        rows = [
            (log, stream, found + place, position + place, *row, now_us)
            for place, row in enumerate(zip(item.ids, item.types, item.data, item.metadata, strict=True), 1)
        ]
        await self._tx.fetch(_INSERT, rows)
        return Appended(version, position + len(rows))

    async def _appended_before(self, item: Append, found: int) -> Appended | OtherVersion:
        """The answer to an append that happened already, which its events' ids tell."""
        last = item.expected + len(item.ids)
        there = await self._tx.fetch(_THERE, self._log, item.stream, item.expected, last)
        if [row[0] for row in there] == item.ids:
            return Appended(last, there[-1][1])
        return OtherVersion(found)

    async def read(self, items: Sequence[StreamOrder]) -> Done:
        return Done([await self._read(item) for item in items])

    async def _read(self, item: StreamOrder) -> StreamFound:
        there = await self._tx.fetch(_VERSION, self._log, item.stream)
        if not there:
            return StreamFound(0, ())
        statement, place = (_BACKWARDS, item.after or _FAR) if item.backwards else (_FORWARD, item.after)
        return StreamFound(there[0][0], await self._tx.fetch(statement, self._log, item.stream, place, item.limit))

    async def page(self, items: Sequence[PageOrder]) -> Done:
        position, trimmed, thinned = await self._about() or (0, 0, 0)
        pages = [await self._tx.fetch(_PAGE, self._log, item.after, item.limit) if item.limit else () for item in items]
        return Done([PageFound(rows, position, position, position, trimmed, thinned, None) for rows in pages])

    async def mark(self, items: Sequence[Cut]) -> Done:
        return Done([await self._mark(item) for item in items])

    async def _mark(self, item: Cut) -> int:
        log = await self._about()
        if log is None:
            return 0
        if item.stream is None:
            upto = min(item.upto, log[0])
            await self._tx.fetch(_MARK, upto, 0, self._log)
            return int(upto)
        [[version, last]] = await self._tx.fetch(_LAST_OF, self._log, item.stream, item.upto)
        if version is None:
            return 0
        await self._tx.fetch(_MARK, 0, last, self._log)
        return int(version)

    async def drop(self, items: Sequence[Dropping]) -> Done:
        return Done([await self._drop(item) for item in items])

    async def _drop(self, item: Dropping) -> int:
        if item.stream is None:
            await self._tx.fetch(_DROP, self._log, self._log, item.upto, item.limit)
        else:
            place = (self._log, item.stream)
            await self._tx.fetch(_DROP_OF, *place, *place, item.upto, item.limit)
        [[gone]] = await self._tx.fetch(_CHANGES)
        return int(gone)
