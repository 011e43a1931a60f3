"""A database with business rows and an outbox beside them, and a target that keeps what it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.outbox import Outbox
from tests.backends.everywhere import PATIENCE_S, unique


class World(NamedTuple):
    """A database with business rows, and the library's tables beside them."""

    backend: Any
    engine: AsyncEngine
    outbox: Outbox
    rows: str

    async def order(self, name: str, *subjects: str) -> None:
        """One business transaction: a row, and an event for each subject."""
        async with AsyncSession(self.engine) as session, session.begin():
            await self.write(session, name)
            await self.publish(session, name, *subjects)

    async def write(self, session: AsyncSession, name: str) -> None:
        await session.execute(text(f"insert into {self.rows} values (:name)"), {"name": name})

    async def publish(self, session: AsyncSession, name: str, *subjects: str) -> None:
        events = [self.outbox.event("/orders", "order.placed", subject, {"name": name}) for subject in subjects]
        await self.outbox.publish(*events, within=self.backend.within(session))

    async def names(self) -> list[str]:
        async with self.engine.connect() as connection:
            return [row[0] for row in await connection.execute(text(f"select name from {self.rows} order by name"))]


@pytest.fixture(name="world", params=["sqlite", "postgres"])
async def outbox_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url").replace("://", "+asyncpg://")
    engine, rows = create_async_engine(url), unique("rows").replace("-", "_")
    async with SQLBackend.from_url(url, timeout_s=PATIENCE_S) as backend:
        await backend.create()
        async with engine.begin() as connection:
            await connection.execute(text(f"create table {rows} (name text)"))
        yield World(backend, engine, Outbox(unique("orders"), backend=backend), rows)
    await engine.dispose()


class Arrived:
    """A target that keeps what it gets, and fails as often as it is told to."""

    def __init__(self, expected: int, failures: dict[str, int] | None = None) -> None:
        self.events: list[CloudEvent] = []
        self._expected = expected
        self._failures = failures or {}
        self._all = anyio.Event()

    async def __call__(self, event: CloudEvent) -> None:
        name = event.data["name"]
        if self._failures.get(name, 0):
            self._failures[name] -= 1
            raise ConnectionError(f"{name} is refused")
        self.events.append(event)
        if len(self.events) >= self._expected:
            self._all.set()

    async def wait(self) -> list[str]:
        with anyio.fail_after(PATIENCE_S):
            await self._all.wait()
        return [event.data["name"] for event in self.events]
