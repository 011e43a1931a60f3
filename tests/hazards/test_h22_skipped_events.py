"""Hazard 22: a reader of an event store misses events of writers that commit late.

peers.md, 22: a reader that remembers the last position it saw passes positions that open transactions will still fill.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.ports.log import ANY, EventLog, NewEvent, RecordedEvent
from tests.backends.everywhere import PATIENCE_S, each_backend_with_logs, unique

pytestmark = pytest.mark.anyio
backend = each_backend_with_logs

WRITERS, READERS = 8, 3
FEW, MANY = 2_000, int(os.environ.get("SDP_EVENTS", "100000"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Transactions:
    """The caller's own transactions, on the database of a backend; none elsewhere."""

    def __init__(self, backend: Any, engine: AsyncEngine | None, log: str) -> None:
        self._backend = backend
        self._engine = engine
        self._log = log

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[EventLog]:
        if self._engine is None:
            yield self._backend.log(self._log)
            return
        async with AsyncSession(self._engine) as session:
            yield self._backend.within(session).log(self._log)
            await session.commit()


@asynccontextmanager
async def transactions(backend: Any, log: str) -> AsyncIterator[Transactions]:
    if not isinstance(backend, SQLBackend):
        yield Transactions(backend, None, log)
        return
    patience = {"timeout": PATIENCE_S} if "sqlite" in backend.shown else {}
    engine = create_async_engine(url_of(backend), pool_size=WRITERS, connect_args=patience)
    yield Transactions(backend, engine, log)
    await engine.dispose()


def url_of(backend: Any) -> str:
    url: str = backend._resources._database.url.render_as_string(hide_password=False)
    return url


async def write(log: EventLog, begin: Transactions, place: int, count: int, seed: int) -> None:
    """Streams of its own and shared ones; every fourth append in a transaction that stays open for a while."""
    dice = random.Random(seed * WRITERS + place)
    for number in range(0, count, 2):
        stream = f"own-{place}" if dice.random() < 0.5 else f"shared-{dice.randrange(3)}"
        events = [NewEvent(id=f"{place}-{number + part}", type="noted", data=b"{}") for part in range(2)]
        if dice.random() < 0.25:
            async with begin.begin() as inside:
                await inside.append(stream, ANY, events[:1])
                await asyncio.sleep(dice.random() * 0.002)
                await inside.append(stream, ANY, events[1:])
        else:
            await log.append(stream, ANY, events)


async def read(log: EventLog, total: int) -> list[RecordedEvent]:
    seen: list[RecordedEvent] = []
    async with log.subscribe() as events:
        while len(seen) < total:
            seen += (await events.next_page()).events
    return seen


async def read_naively(engine: AsyncEngine, log: str, after: int) -> list[tuple[int, str]]:
    """What is behind the largest position that was seen, as hazard 22 has it."""
    query = text("SELECT position, id FROM sdp_events WHERE log = :log AND position > :after ORDER BY position")
    async with engine.connect() as connection:
        return [(row[0], row[1]) for row in await connection.execute(query, {"log": log, "after": after})]


async def play(backend: Any, total: int) -> list[list[RecordedEvent]]:
    name = unique("events")
    log = backend.log(name)
    readers = [asyncio.ensure_future(read(backend.log(name), total)) for _ in range(READERS)]
    async with transactions(backend, name) as begin:
        await asyncio.gather(*(write(log, begin, place, total // WRITERS, total) for place in range(WRITERS)))
        return await asyncio.gather(*readers)


def judge(seen: list[list[RecordedEvent]], total: int) -> None:
    first = seen[0]
    assert len({each.id for each in first}) == len(first) == total
    positions = [each.position for each in first]
    assert positions == sorted(positions)
    versions: dict[str, int] = {}
    for each in first:
        assert each.version == versions.get(each.stream, 0) + 1, f"{each.stream} is out of order"
        versions[each.stream] = each.version
    assert all(each == first for each in seen[1:]), "two readers saw two orders"


@pytest.mark.timeout(300)
async def test_readers_beside_slow_writers_skip_nothing_and_see_one_order(backend: Any) -> None:
    judge(await play(backend, FEW), FEW)


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_the_same_with_many_events(backend: Any) -> None:
    judge(await play(backend, MANY), MANY)


async def test_a_naive_reader_misses_what_commits_late(postgres_url: str) -> None:
    """So these tests can fail: the same writers, and a reader that goes by the largest position."""
    url, name = postgres_url.replace("://", "+asyncpg://"), unique("events")
    engine = create_async_engine(url)
    async with SQLBackend.from_url(url, timeout_s=PATIENCE_S) as backend:
        await backend.create()
        log, begin = backend.log(name), Transactions(backend, engine, name)
        async with begin.begin() as inside:
            await inside.append("slow", ANY, [NewEvent(id="late", type="noted", data=b"")])
            await log.append("quick", ANY, [NewEvent(id="early", type="noted", data=b"")])
            [(position, seen)] = await read_naively(engine, name, 0)
            careful = await log.read_all()
        assert seen == "early"
        assert await read_naively(engine, name, position) == []
        assert list(careful.events) == []
        assert [each.id for each in (await log.read_all(careful.position)).events] == ["late", "early"]
    await engine.dispose()
