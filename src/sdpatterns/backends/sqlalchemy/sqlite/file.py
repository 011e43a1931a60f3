"""Engines on a SQLite file."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

__all__ = ["check_is_file", "sqlite_engine"]


def check_is_file(url: URL) -> None:
    """Raise ValueError for a database in memory."""
    if url.database in {None, "", ":memory:"}:
        raise ValueError(
            "a SQLite database in memory ends with its connection, and this backend has several:"
            " give a file, or use sdpatterns.backends.memory.MemoryBackend"
        )


def sqlite_engine(url: URL, *, timeout_s: float, durable: bool) -> Engine:
    """An engine on the file, whatever driver the URL names; each connection may change threads."""
    engine = create_engine(
        url.set(drivername="sqlite"),
        poolclass=QueuePool,
        hide_parameters=True,
        # Python's driver would else begin transactions by itself, and without the write lock.
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": timeout_s},
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: object) -> None:
        # Asked first, because to change it takes a lock that another process may hold.
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode = wal")
        connection.execute(f"PRAGMA synchronous = {'full' if durable else 'normal'}")

    return engine
