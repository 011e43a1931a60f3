"""Events in Postgres: writers of different streams never wait for each other, and readers see who is still at work.

The statements are in `log_statements`. A writer holds the row of its stream until it commits, so that versions and
positions of a stream stand in one order. It also holds a shared lock whose number is the last position before its own:
a reader stops there, and never waits for a transaction that appends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdpatterns.backends.sqlalchemy.engine.requests import Done
from sdpatterns.backends.sqlalchemy.engine.transactions import Statement, Transaction
from sdpatterns.backends.sqlalchemy.events.rows import (
    Append,
    Cut,
    Dropping,
    OtherVersion,
    PageFound,
    PageOrder,
    StreamFound,
    StreamHeld,
    StreamOrder,
    runs,
)
from sdpatterns.backends.sqlalchemy.events.verbs import Verb
from sdpatterns.backends.sqlalchemy.postgres import log_statements as sql
from sdpatterns.backends.sqlalchemy.postgres.dialect import PostgresDialect, limit_wait
from sdpatterns.ports.log import Appended

__all__ = ["PostgresEvents"]

_FAR = (1 << 63) - 1


class PostgresEvents:
    """See `VerbTable`."""

    def __init__(self, dialect: PostgresDialect) -> None:
        self._dialect = dialect

    def is_whole(self, verb: Verb, items: Sequence[Any], /) -> bool:
        """Whether a stream has several appends, which must not become durable one by one."""
        return verb == "append" and len(items) > 1 and len({item.stream for item in items}) < len(items)

    async def run(self, verb: Verb, tx: Transaction, log: str, items: Sequence[Any], /, *, wait_max_s: float) -> Done:
        """Do it. Where another transaction writes to a stream, only that append is held up."""
        await limit_wait(tx, wait_max_s)
        done: Done = await getattr(_Work(tx, log, self._dialect.shift_us, wait=wait_max_s > 0), verb)(items)
        return done


class _Work:
    """One verb on one log in one transaction."""

    def __init__(self, tx: Transaction, log: str, shift_us: int, *, wait: bool) -> None:
        self._tx = tx
        self._log = log
        self._shift_us = shift_us
        self._wait = wait

    async def _fetch(self, statement: Statement, *parameters: Any) -> Sequence[Sequence[Any]]:
        shift = (self._shift_us,) if statement.names[-1] == "shift_us" else ()
        return await self._tx.fetch(statement, self._log, *parameters, *shift)

    async def append(self, items: Sequence[Append]) -> Done:
        answers: list[Any] = []
        for run in runs(items):
            answers += await self._append(run)
        return Done(answers, any(isinstance(each, Appended) for each in answers))

    async def _append(self, items: Sequence[Append]) -> list[Any]:
        numbers = [number for item in items for number in range(1, len(item.ids) + 1)]
        places = [place for place, item in enumerate(items, 1) for _ in item.ids]
        found = await self._fetch(
            sql.APPEND if self._wait else sql.TRY_APPEND,
            *_about(items),
            places,
            numbers,
            [name for item in items for name in item.ids],
            [kind for item in items for kind in item.types],
            [data for item in items for data in item.data],
            [text for item in items for text in item.metadata],
        )
        answers: list[Any] = [
            StreamHeld() if is_held else None if position is None else Appended(version, position)
            for version, position, is_held in found
        ]
        lost = [place for place, answer in enumerate(answers) if answer is None]
        if lost:
            again = await self._appended_before([items[place] for place in lost])
            for place, answer in zip(lost, again, strict=True):
                answers[place] = answer
        return answers

    async def _appended_before(self, items: Sequence[Append]) -> list[Any]:
        """The answers to appends that happened already, which their events' ids tell; the others met a conflict."""
        found = await self._fetch(sql.THERE, *_about(items))
        return [_judged(item, *row) for item, row in zip(items, found, strict=True)]

    async def read(self, items: Sequence[StreamOrder]) -> Done:
        return Done([await self._read(item) for item in items])

    async def _read(self, item: StreamOrder) -> StreamFound:
        statement, place = (sql.BACKWARDS, item.after or _FAR) if item.backwards else (sql.FORWARD, item.after)
        rows = await self._fetch(statement, item.stream, place, item.limit)
        # A stream without such events has one row all the same, which says its version.
        return StreamFound(rows[0][0] if rows else 0, [row[1:] for row in rows if row[1] is not None])

    async def page(self, items: Sequence[PageOrder]) -> Done:
        return Done([await self._page(item) for item in items])

    async def _page(self, item: PageOrder) -> PageFound:
        rows = await self._fetch(sql.PAGE, item.after, item.upto, item.limit)
        safe, head, trimmed, thinned, open_us = rows[0][:5]
        events = [row[5:] for row in rows if row[5] is not None]
        return PageFound(events, item.upto, safe, head, trimmed, thinned, open_us)

    async def mark(self, items: Sequence[Cut]) -> Done:
        return Done([await self._mark(item) for item in items])

    async def _mark(self, item: Cut) -> int:
        if item.stream is None:
            [[upto]] = await self._fetch(sql.MARK, item.upto)
        else:
            [[upto]] = await self._fetch(sql.MARK_OF, item.stream, item.upto)
        return int(upto)

    async def drop(self, items: Sequence[Dropping]) -> Done:
        return Done([await self._drop(item) for item in items])

    async def _drop(self, item: Dropping) -> int:
        if item.stream is None:
            [[gone]] = await self._fetch(sql.DROP, item.upto, item.limit)
        else:
            [[gone]] = await self._fetch(sql.DROP_OF, item.stream, item.upto, item.limit)
        return int(gone)


def _about(items: Sequence[Append]) -> tuple[list[str], list[int], list[int]]:
    return [item.stream for item in items], [item.expected for item in items], [len(item.ids) for item in items]


def _judged(
    item: Append, version: int, ids: Sequence[str], position: int | None
) -> Appended | OtherVersion | StreamHeld:
    if position is not None and list(ids) == item.ids:
        return Appended(item.expected + len(item.ids), position)
    # The stream came to this version between the two statements: try again.
    return StreamHeld() if version == item.expected else OtherVersion(version)
