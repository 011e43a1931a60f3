"""Statements on a connection: through the driver on our own connections, through SQLAlchemy on the caller's.

```
Statement("... unnest(:spaces, :versions) ...", spaces="text[]", versions="bigint[]")
    asyncpg       $1, $2
    psycopg       %(spaces)s, %(versions)s       each in casts: see `_cast`
    SQLAlchemy    :spaces, :versions             for `backend.within(session)`
```

What a port does in SQL it does through `Transaction.fetch`, so that the same code runs on each of them. On our
own connections SQLAlchemy's execution layer would cost more than the statement itself: it makes the engines, the
URLs and the connections there, and the driver runs the statements, which it prepares once for each connection.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, cast

from sqlalchemy import text
from sqlalchemy.engine import Connection

__all__ = [
    "AsyncpgTransaction",
    "ForEachRow",
    "NotWritten",
    "PsycopgTransaction",
    "SQLiteTransaction",
    "Statement",
    "Transaction",
    "ViewTransaction",
]


def _texts(values: Sequence[str | None]) -> str:
    if values and None not in values:
        texts = cast("Sequence[str]", values)
        together = "".join(texts)
        # Hardly any key needs an escape, and one look at all of them is cheaper than a look at each.
        if '"' not in together and "\\" not in together:
            return '{"' + '","'.join(texts) + '"}'
    return "{" + ",".join(map(_text, values)) + "}"


def _text(value: str | None) -> str:
    # Between quotes it is never the word NULL.
    return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _blobs(values: Sequence[bytes | None]) -> str:
    return "{" + ",".join(["NULL" if value is None else '"\\\\x' + value.hex() + '"' for value in values]) + "}"


_WRITERS: Mapping[str, Callable[[Any], str]] = {"text[]": _texts, "bytea[]": _blobs}
"""How an array is handed to a driver of Postgres.

As text: both drivers ask each element of a list what it is, which costs more than all the rest of a statement for many
cells.
"""


class NotWritten(TypeError):
    """A parameter cannot be handed to the database, so that nothing was sent."""


class Statement:
    """One text of SQL as each driver takes it. Parameters are named and have a type of Postgres, or are `?` in SQLite.

    They are given by position, in the order of `types`.
    """

    __slots__ = ("_kinds", "formatted", "names", "numbered", "sql", "text")

    def __init__(self, sql: str, **types: str) -> None:
        self.sql = sql
        self.names = tuple(types)
        self._kinds = tuple(types.values())
        numbers = {name: place for place, name in enumerate(types, 1)}
        self.numbered = _with_casts(sql, types, lambda name: f"${numbers[name]}")
        self.formatted = _with_casts(sql, types, lambda name: f"%({name})s")
        self.text = text(_with_casts(sql, types, lambda name: f":{name}"))

    def written(self, parameters: Sequence[Any]) -> list[Any]:
        """The parameters as the drivers of Postgres take them."""
        written: list[Any] = []
        # Anything may have come out of a codec of the user's: it must harm only the step that it belongs to.
        try:
            for kind, value in zip(self._kinds, parameters, strict=True):
                if kind == "bigint[]":
                    # Here and not in a function, because most arrays are numbers, and most have only one.
                    written.append("{" + ",".join(map(str, value)) + "}")
                elif kind in _WRITERS:
                    written.append(_WRITERS[kind](value))
                else:
                    written.append(value)
        except (AttributeError, TypeError, ValueError) as error:
            raise NotWritten(f"a parameter has the wrong type: {error}") from error
        return written

    def named(self, parameters: Sequence[Any]) -> dict[str, Any]:
        """The same by name."""
        return dict(zip(self.names, self.written(parameters), strict=True))


class ForEachRow(Statement):
    """Runs once for each row in its one parameter. For SQLite, where a statement costs no trip to a server."""

    __slots__ = ()


def _with_casts(sql: str, types: Mapping[str, str], parameter: Callable[[str], str]) -> str:
    if not types:
        return sql
    return re.sub(rf":({'|'.join(types)})\b", lambda match: _cast(parameter(match[1]), types[match[1]]), sql)


def _cast(parameter: str, kind: str) -> str:
    # Postgres must hear that it gets a text: from the outer cast alone it would ask the driver for an array.
    return f"CAST(CAST({parameter} AS text) AS {kind})" if kind.endswith("[]") else f"CAST({parameter} AS {kind})"


class Transaction(Protocol):
    """All that the statements of a port need. Nothing suspends but on asyncpg."""

    def fetch(self, statement: Statement, /, *parameters: Any) -> Coroutine[Any, Any, Sequence[Sequence[Any]]]:
        """Run the statement; its rows, none where it gives none."""
        ...

    async def execute(self, sql: str, /) -> None:
        """Run a command without parameters, such as `BEGIN`."""


class AsyncpgTransaction:
    """See `Transaction`: on a connection of asyncpg."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def fetch(self, statement: Statement, /, *parameters: Any) -> Coroutine[Any, Any, Sequence[Sequence[Any]]]:
        # asyncpg keeps what it has prepared in a cache of the connection, found by the text.
        rows: Coroutine[Any, Any, Sequence[Sequence[Any]]]
        rows = self._driver.fetch(statement.numbered, *statement.written(parameters))
        return rows

    async def execute(self, sql: str, /) -> None:
        await self._driver.execute(sql)


class PsycopgTransaction:
    """See `Transaction`: on a blocking connection of psycopg."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def fetch(self, statement: Statement, /, *parameters: Any) -> Sequence[Sequence[Any]]:
        # psycopg prepares by itself what it sees five times on one connection.
        cursor = self._driver.execute(statement.formatted, statement.named(parameters))
        rows: Sequence[Sequence[Any]] = cursor.fetchall() if cursor.description else ()
        return rows

    async def execute(self, sql: str, /) -> None:
        self._driver.execute(sql)


class SQLiteTransaction:
    """See `Transaction`: on a connection of Python's own driver, which prepares and keeps statements by itself.

    `execute` is for commands that give no rows: rows that are not read would keep their statement open.
    """

    __slots__ = ("_cursor",)

    def __init__(self, driver: sqlite3.Connection) -> None:
        # One for all statements, because a new one costs as much as a short statement.
        self._cursor = driver.cursor()

    async def fetch(self, statement: Statement, /, *parameters: Any) -> Sequence[Sequence[Any]]:
        if isinstance(statement, ForEachRow):
            self._cursor.executemany(statement.sql, *parameters)
            return ()
        # All rows at once, because rows that are left would keep the transaction from its end.
        return self._cursor.execute(statement.sql, parameters).fetchall()

    async def execute(self, sql: str, /) -> None:
        self._cursor.execute(sql)


class ViewTransaction:
    """See `Transaction`: on a connection of SQLAlchemy's, whatever its driver; what listens to it hears of it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, statement: Statement, /, *parameters: Any) -> Sequence[Sequence[Any]]:
        # Through `execute`, because the caller's engine may have any driver of Postgres.
        if statement.names:
            result = self._connection.execute(statement.text, statement.named(parameters))
        else:
            # `?` is a mark of the driver's, which `text()` does not know. One list stands for many rows there too.
            given = parameters[0] if isinstance(statement, ForEachRow) else parameters
            result = self._connection.exec_driver_sql(statement.sql, given)
        return result.fetchall() if result.returns_rows else ()

    async def execute(self, sql: str, /) -> None:
        self._connection.exec_driver_sql(sql)
