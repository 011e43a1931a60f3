"""A context's data in a database of its own on Postgres, shared by all its replicas."""

from __future__ import annotations

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# For each context of each replica; the server is told how many there may be in all.
WRITERS_MAX, READERS_MAX = 4, 4
_WAIT_S = 30.0


def name_of(url: str) -> str:
    """The database's name, without the password that the URL has."""
    return f"the database {make_url(url).database}"


def engines(url: str) -> tuple[AsyncEngine, AsyncEngine]:
    """Writers in READ COMMITTED, and readers that see one state from their first query to their last."""
    writer = create_async_engine(
        url, pool_size=WRITERS_MAX, max_overflow=0, pool_timeout=_WAIT_S, isolation_level="READ COMMITTED"
    )
    reader = create_async_engine(
        url, pool_size=READERS_MAX, max_overflow=0, pool_timeout=_WAIT_S, isolation_level="REPEATABLE READ"
    )
    return writer, reader.execution_options(postgresql_readonly=True)
