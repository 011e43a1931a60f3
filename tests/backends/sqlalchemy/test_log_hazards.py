"""Logs on Postgres beside transactions of the caller's that stay open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.ports.log import ANY, NewEvent
from tests.backends.everywhere import PATIENCE_S, unique

pytestmark = pytest.mark.anyio


def events(*names: str) -> list[NewEvent]:
    return [NewEvent(id=name, type="noted", data=b"") for name in names]


@pytest.fixture
async def backend(postgres_async_url: str) -> AsyncIterator[SQLBackend]:
    async with SQLBackend(postgres_async_url, timeout_s=PATIENCE_S) as backend:
        await backend.create()
        yield backend


@pytest.fixture
async def session(postgres_async_url: str) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(postgres_async_url)
    async with AsyncSession(engine) as session:
        yield session
    await engine.dispose()


async def test_of_appends_that_travel_together_only_that_to_a_held_stream_waits(
    backend: SQLBackend, session: AsyncSession
) -> None:
    log = backend.log(unique("log"))
    await log.append("held", 0, events("0"))
    await backend.within(session).log(log.name).append("held", 1, events("1"))
    waits = asyncio.ensure_future(log.append("held", ANY, events("2")))
    others = await asyncio.gather(*(log.append(f"free-{number}", 0, events("x")) for number in range(20)))
    assert [each.version for each in others] == [1] * 20
    assert not waits.done()
    await session.commit()
    assert (await waits).version == 3
    assert [each.id for each in (await log.read("held")).events] == ["0", "1", "2"]


async def test_a_transaction_with_many_appends_is_one_place_to_stop_at(
    backend: SQLBackend, session: AsyncSession
) -> None:
    log = backend.log(unique("log"))
    inside = backend.within(session).log(log.name)
    first = await inside.append("a", 0, events("1"))
    for number in range(1, 30):
        await log.append("quick", number - 1, events(f"{number}"))
        await inside.append("a", number, events(f"{number}+"))
    page = await log.read_all()
    assert list(page.events) == []
    assert page.position < first.position
    assert page.held_s is not None
    await session.commit()
    found = (await log.read_all(page.position)).events or (await log.read_all(page.position)).events
    assert len(found) == 30 + 29
    assert [each.position for each in found] == sorted(each.position for each in found)
