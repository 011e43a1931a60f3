"""A context's data in a database of its own on Postgres, shared by all its replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, Row, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# For each context of each replica; the server is told how many there may be in all.
WRITERS_MAX, READERS_MAX = 4, 4
_WAIT_S = 30.0
_SNAPSHOT = text("SELECT pg_current_snapshot()::text")


def name_of(url: str) -> str:
    """The database's name, without the password that the URL has."""
    return f"the database {make_url(url).database}"


def writer(url: str) -> AsyncEngine:
    """Writers in READ COMMITTED."""
    return create_async_engine(
        url, pool_size=WRITERS_MAX, max_overflow=0, pool_timeout=_WAIT_S, isolation_level="READ COMMITTED"
    )


class Readers:
    """Connections that see one state from their first query to their last, and cannot write."""

    def __init__(self, url: str) -> None:
        engine = create_async_engine(
            url, pool_size=READERS_MAX, max_overflow=0, pool_timeout=_WAIT_S, isolation_level="REPEATABLE READ"
        )
        self._engine = engine.execution_options(postgresql_readonly=True)

    def at_once(self, query: Executable) -> None:
        """None: each read waits for the server."""

    async def read(self, queries: Sequence[Executable]) -> list[Sequence[Row[Any]]]:
        """The rows of each query, in one view of the data."""
        async with self._engine.begin() as connection:
            return [(await connection.execute(query)).all() for query in queries]

    async def version(self) -> str:
        """Which transactions a reader sees: other ones after each change, also of the server's other databases."""
        ((snapshot,),) = (await self.read([_SNAPSHOT]))[0]
        return str(snapshot)

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()
