"""The same limiter on every store: memory, SQLite, Postgres, Valkey, and a Valkey Cluster."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.clock import SYSTEM, Clock

KINDS = ["memory", "sqlite", "postgres", "valkey", "cluster"]


class ShiftedMemory(MemoryBackend):
    def __init__(self) -> None:
        self.shift_us = 0
        super().__init__(clock=Clock(SYSTEM.monotonic, lambda: SYSTEM.now_us() + self.shift_us))

    def shift(self, seconds: float) -> None:
        self.shift_us += round(seconds * 1_000_000)


@asynccontextmanager
async def opened(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> AsyncIterator[Any]:
    """A backend of that kind, with nothing in it that a test could meet."""
    backend = _built(request, kind, tmp_path)
    async with backend:
        await backend.create()
        yield backend


def _built(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Any:
    prefix = f"t{uuid.uuid4().hex[:8]}"
    if kind == "memory":
        return ShiftedMemory()
    if kind == "sqlite":
        return SQLBackend.from_url(f"sqlite+aiosqlite:///{tmp_path / 'limits.db'}")
    if kind == "postgres":
        url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+asyncpg://")
        return SQLBackend.from_url(url)
    if kind == "cluster":
        return RedisBackend.from_url(request.getfixturevalue("valkey_cluster"), cluster=True, prefix=prefix)
    return RedisBackend.from_url(request.getfixturevalue("valkey_url"), prefix=prefix)


def unique(name: str) -> str:
    """A limiter's name that no other test of a shared server has used."""
    return f"{name}-{uuid.uuid4().hex[:8]}"
