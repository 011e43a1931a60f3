"""The backends that the same tests run on: memory, SQLite, Postgres, Valkey, and a Valkey Cluster."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.clock import SYSTEM, Clock

KINDS = ["memory", "sqlite", "postgres", "valkey", "cluster"]
BLOCKING_KINDS = ["memory", "sqlite", "postgres", "valkey"]


class ShiftedMemory(MemoryBackend):
    def __init__(self) -> None:
        self.shift_us = 0
        super().__init__(clock=Clock(SYSTEM.monotonic, lambda: SYSTEM.now_us() + self.shift_us))

    def shift(self, seconds: float) -> None:
        self.shift_us += round(seconds * 1_000_000)


@asynccontextmanager
async def opened(request: pytest.FixtureRequest, kind: str, folder: Path) -> AsyncIterator[Any]:
    """A backend of that kind, with nothing in it that a test could meet."""
    backend = _built(request, kind, folder)
    async with backend:
        await backend.create()
        yield backend


def _built(request: pytest.FixtureRequest, kind: str, folder: Path) -> Any:
    if kind == "memory":
        return ShiftedMemory()
    if kind == "sqlite":
        return SQLBackend.from_url(f"sqlite+aiosqlite:///{folder / 'keys.db'}")
    if kind == "postgres":
        url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+asyncpg://")
        return SQLBackend.from_url(url)
    if kind == "cluster":
        return RedisBackend.from_url(request.getfixturevalue("valkey_cluster"), cluster=True, prefix=unique("t"))
    return RedisBackend.from_url(request.getfixturevalue("valkey_url"), prefix=unique("t"))


@contextmanager
def opened_blocking(request: pytest.FixtureRequest, kind: str, folder: Path) -> Iterator[Any]:
    backend = _built_blocking(request, kind, folder)
    with blocking(backend) as door:
        door.create()
        yield backend


def _built_blocking(request: pytest.FixtureRequest, kind: str, folder: Path) -> Any:
    if kind == "memory":
        return ShiftedMemory()
    if kind == "sqlite":
        return SQLBackend.from_url(f"sqlite:///{folder / 'keys.db'}")
    if kind == "postgres":
        url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+psycopg://")
        return SQLBackend.from_url(url)
    return RedisBackend.from_url(request.getfixturevalue("valkey_url"), prefix=unique("t"), blocking=True)


def unique(name: str) -> str:
    """A name that no other test of a shared server has used."""
    return f"{name}-{uuid.uuid4().hex[:8]}"
