"""Statements on a connection: through the driver on our own connections, through SQLAlchemy on the caller's.

```
Statement("... unnest(:spaces, :keys) ...", spaces="text[]", keys="text[]")
    asyncpg       $1::text[], $2::text[]
    psycopg       %(spaces)s::text[], %(keys)s::text[]
    SQLAlchemy    text(...), for `backend.within(session)`
```

What a port does in SQL it does through `Transaction.fetch`, so that the same code runs on each of them. On our
own connections SQLAlchemy's execution layer would cost more than the statement itself: it makes the engines, the
URLs and the connections there, and the driver runs the statements, which it prepares once for each connection.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import ARRAY, BigInteger, LargeBinary, Text, TextClause, bindparam, text
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

__all__ = [
    "AsyncpgTransaction",
    "PsycopgTransaction",
    "SQLiteTransaction",
    "Statement",
    "Transaction",
    "ViewTransaction",
]

_TYPES: Mapping[str, TypeEngine[Any]] = {
    "text": Text(),
    "bigint": BigInteger(),
    "text[]": ARRAY(Text),
    "bigint[]": ARRAY(BigInteger),
    "bytea[]": ARRAY(LargeBinary),
}


class Statement:
    """One text of SQL as each driver takes it. Parameters are named and have a type of Postgres, or are `?` in SQLite.

    They are given by position, in the order of `types`.
    """

    __slots__ = ("formatted", "names", "numbered", "sql", "text", "types")

    def __init__(self, sql: str, **types: str) -> None:
        self.sql = sql
        self.names = tuple(types)
        self.types = tuple(types.values())
        # The casts are for Postgres, which cannot tell the type of what it is to unnest.
        self.numbered = self._written(lambda name: f"${self.names.index(name) + 1}::{types[name]}")
        self.formatted = self._written(lambda name: f"%({name})s::{types[name]}")
        self.text: TextClause = text(sql).bindparams(*(bindparam(name, type_=_TYPES[types[name]]) for name in types))

    def _written(self, parameter: Callable[[str], str]) -> str:
        if not self.names:
            return self.sql
        return re.sub(rf":({'|'.join(self.names)})\b", lambda match: parameter(match[1]), self.sql)


class Transaction(Protocol):
    """All that the statements of a port need. Nothing suspends but on asyncpg."""

    async def fetch(self, statement: Statement, /, *parameters: Any) -> Sequence[Sequence[Any]]:
        """Run the statement; its rows, none where it gives none."""
        ...

    async def execute(self, sql: str, /) -> None:
        """Run a command without parameters, such as `BEGIN`."""

    async def run_each(self, statement: Statement, rows: Sequence[Sequence[Any]], /) -> None:
        """Run the statement once for each row of parameters. For SQLite, where a statement costs no trip."""


class AsyncpgTransaction:
    """See `Transaction`: on a connection of asyncpg."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def fetch(self, statement: Statement, /, *parameters: Any) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = await self._driver.fetch(statement.numbered, *parameters)
        return rows

    async def execute(self, sql: str, /) -> None:
        await self._driver.execute(sql)

    async def run_each(self, statement: Statement, rows: Sequence[Sequence[Any]], /) -> None:
        await self._driver.executemany(statement.numbered, rows)


class PsycopgTransaction:
    """See `Transaction`: on a blocking connection of psycopg."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def fetch(self, statement: Statement, /, *parameters: Any) -> Sequence[Sequence[Any]]:
        cursor = self._driver.execute(statement.formatted, self._named(statement, parameters))
        rows: Sequence[Sequence[Any]] = cursor.fetchall() if cursor.description else ()
        return rows

    async def execute(self, sql: str, /) -> None:
        self._driver.execute(sql)

    async def run_each(self, statement: Statement, rows: Sequence[Sequence[Any]], /) -> None:
        for row in rows:
            self._driver.execute(statement.formatted, self._named(statement, row))

    def _named(self, statement: Statement, parameters: Sequence[Any]) -> dict[str, Any]:
        # psycopg asks each element of a list for its type, which takes twice as long as all the rest together.
        written = (
            _LITERALS[kind](value) if kind in _LITERALS else value
            for kind, value in zip(statement.types, parameters, strict=True)
        )
        return dict(zip(statement.names, written, strict=True))


class SQLiteTransaction:
    """See `Transaction`: on a connection of Python's own driver, which prepares and keeps statements by itself."""

    __slots__ = ("_driver",)

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    async def fetch(self, statement: Statement, /, *parameters: Any) -> Sequence[Sequence[Any]]:
        return self._driver.execute(statement.sql, parameters).fetchall()

    async def execute(self, sql: str, /) -> None:
        self._driver.execute(sql)

    async def run_each(self, statement: Statement, rows: Sequence[Sequence[Any]], /) -> None:
        self._driver.executemany(statement.sql, rows)


class ViewTransaction:
    """See `Transaction`: on a connection of SQLAlchemy's, whatever its driver; what listens to it hears of it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, statement: Statement, /, *parameters: Any) -> Sequence[Sequence[Any]]:
        if statement.names:
            result = self._connection.execute(statement.text, dict(zip(statement.names, parameters, strict=True)))
        else:
            result = self._connection.exec_driver_sql(statement.sql, parameters)
        return result.fetchall() if result.returns_rows else ()

    async def execute(self, sql: str, /) -> None:
        self._connection.exec_driver_sql(sql)

    async def run_each(self, statement: Statement, rows: Sequence[Sequence[Any]], /) -> None:
        self._connection.exec_driver_sql(statement.sql, [tuple(row) for row in rows])


def _texts(values: Sequence[str | None]) -> str:
    return f"{{{','.join(_text(value) for value in values)}}}"


def _text(value: str | None) -> str:
    if value is None:
        return "NULL"
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


def _numbers(values: Sequence[int]) -> str:
    return f"{{{','.join(map(str, values))}}}"


def _blobs(values: Sequence[bytes | None]) -> str:
    return f"{{{','.join(['NULL' if value is None else _blob(value) for value in values])}}}"


def _blob(value: bytes) -> str:
    return f'"\\\\x{value.hex()}"'


_LITERALS: Mapping[str, Callable[[Any], str]] = {"text[]": _texts, "bigint[]": _numbers, "bytea[]": _blobs}
"""How an array of Postgres is written as a text."""
