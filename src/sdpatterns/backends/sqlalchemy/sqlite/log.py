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

# Events say by themselves how far their log and their stream have come, so that an append writes nothing but events.
# The two other tables speak for events that were dropped.
_POSITION = (
    "max(coalesce((SELECT max(position) FROM sdp_events WHERE log = ?), 0),"
    " coalesce((SELECT position FROM sdp_logs WHERE log = ?), 0))"
)
_VERSION_OF = (
    "max(coalesce((SELECT max(version) FROM sdp_events WHERE log = ? AND stream = ?), 0),"
    " coalesce((SELECT version FROM sdp_streams WHERE log = ? AND stream = ?), 0))"
)
_END = Statement(f"SELECT {_POSITION}, {_VERSION_OF}")
_VERSION = Statement(f"SELECT {_VERSION_OF}")
_HEAD = Statement(f"SELECT {_POSITION}")
_CUTS = Statement("SELECT trimmed, thinned FROM sdp_logs WHERE log = ?")
_MARK = Statement(
    "INSERT INTO sdp_logs (log, position, trimmed, thinned) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (log) DO UPDATE SET position = max(position, excluded.position),"
    " trimmed = max(trimmed, excluded.trimmed), thinned = max(thinned, excluded.thinned)"
)
_INSERT = ForEachRow(f"INSERT INTO sdp_events (log, stream, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
_THERE = Statement(f"SELECT id, position{_STREAM} > ? AND version <= ? ORDER BY version")
_FORWARD = Statement(f"SELECT {_COLUMNS}{_STREAM} > ? ORDER BY version LIMIT ?")
_BACKWARDS = Statement(f"SELECT {_COLUMNS}{_STREAM} < ? ORDER BY version DESC LIMIT ?")
_PAGE = Statement(f"SELECT {_COLUMNS}, stream FROM sdp_events WHERE log = ? AND position > ? ORDER BY position LIMIT ?")
_LAST_OF = Statement(f"SELECT max(version), max(position){_STREAM} <= ?")
_SOME = " FROM sdp_events WHERE log = ? AND position <= ? ORDER BY position LIMIT ?"
_SOME_OF = " FROM sdp_events WHERE log = ? AND stream = ? AND version <= ? ORDER BY version LIMIT ?"
_KEEP = (
    "INSERT INTO sdp_streams (log, stream, version)"
    " SELECT log, stream, max(version) FROM (SELECT log, stream, version{}) WHERE true GROUP BY log, stream"
    " ON CONFLICT (log, stream) DO UPDATE SET version = max(version, excluded.version)"
)
_DROP = "DELETE FROM sdp_events WHERE log = ? AND position IN (SELECT position{})"
_KEEP_VERSIONS, _DROP_EVENTS = Statement(_KEEP.format(_SOME)), Statement(_DROP.format(_SOME))
_KEEP_VERSION, _DROP_OF = Statement(_KEEP.format(_SOME_OF)), Statement(_DROP.format(_SOME_OF))
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

    def _twice(self, stream: str) -> tuple[str, str, str, str]:
        return (self._log, stream, self._log, stream)

    async def _head(self) -> int:
        [[position]] = await self._tx.fetch(_HEAD, self._log, self._log)
        return int(position)

    async def _version(self, stream: str) -> int:
        [[version]] = await self._tx.fetch(_VERSION, *self._twice(stream))
        return int(version)

    async def append(self, items: Sequence[Append]) -> Done:
        answers = [await self._append(item) for item in items]
        return Done(answers, any(isinstance(answer, Appended) for answer in answers))

    async def _append(self, item: Append) -> Appended | OtherVersion:
        [[position, found]] = await self._tx.fetch(_END, self._log, self._log, *self._twice(item.stream))
        if item.expected not in {ANY_VERSION, found}:
            return await self._appended_before(item, found)
        log, stream, now_us = self._log, item.stream, self._now_us
        rows = [
            (log, stream, found + place, position + place, *row, now_us)
            for place, row in enumerate(zip(item.ids, item.types, item.data, item.metadata, strict=True), 1)
        ]
        await self._tx.fetch(_INSERT, rows)
        return Appended(found + len(rows), position + len(rows))

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
        version = await self._version(item.stream)
        if not version:
            return StreamFound(0, ())
        statement, place = (_BACKWARDS, item.after or _FAR) if item.backwards else (_FORWARD, item.after)
        return StreamFound(version, await self._tx.fetch(statement, self._log, item.stream, place, item.limit))

    async def page(self, items: Sequence[PageOrder]) -> Done:
        head = await self._head()
        cuts = await self._tx.fetch(_CUTS, self._log)
        trimmed, thinned = cuts[0] if cuts else (0, 0)
        pages = [await self._tx.fetch(_PAGE, self._log, item.after, item.limit) if item.limit else () for item in items]
        return Done([PageFound(rows, head, head, head, trimmed, thinned, None) for rows in pages])

    async def mark(self, items: Sequence[Cut]) -> Done:
        return Done([await self._mark(item) for item in items])

    async def _mark(self, item: Cut) -> int:
        head = await self._head()
        if item.stream is None:
            upto = min(item.upto, head)
            await self._tx.fetch(_MARK, self._log, head, upto, 0)
            return upto
        [[version, last]] = await self._tx.fetch(_LAST_OF, self._log, item.stream, item.upto)
        if version is None:
            return 0
        await self._tx.fetch(_MARK, self._log, head, 0, last)
        return int(version)

    async def drop(self, items: Sequence[Dropping]) -> Done:
        return Done([await self._drop(item) for item in items])

    async def _drop(self, item: Dropping) -> int:
        of_log = item.stream is None
        some = (self._log, item.upto, item.limit) if of_log else (self._log, item.stream, item.upto, item.limit)
        await self._tx.fetch(_KEEP_VERSIONS if of_log else _KEEP_VERSION, *some)
        await self._tx.fetch(_DROP_EVENTS if of_log else _DROP_OF, self._log, *some)
        [[gone]] = await self._tx.fetch(_CHANGES)
        return int(gone)
