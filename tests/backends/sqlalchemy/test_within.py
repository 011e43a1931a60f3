"""Steps inside the caller's own transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from sdpatterns import with_deadline
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.postgres import dialect
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import ASYNCIO, BLOCKING, finish
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.states import Cells, Space, StateStore
from sdpatterns.testing.contracts.steps import Add, AddMany, Explode, Look, Time
from tests.backends.sqlalchemy.steps import Meddled, Numbers

pytestmark = pytest.mark.anyio


def counters(states: StateStore, request: pytest.FixtureRequest) -> Cells[Numbers]:
    return states.cells(Space(f"within/{request.node.name}", IntegersCodec()))


@pytest.fixture
async def own(async_url: str) -> AsyncIterator[AsyncEngine]:
    """The caller's engine, with a table of the caller's."""
    engine = create_async_engine(async_url)
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS orders"))
        await connection.execute(text("CREATE TABLE orders (id INTEGER)"))
    yield engine
    await engine.dispose()


async def orders(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return (await connection.execute(text("SELECT count(*) FROM orders"))).scalar_one()


async def test_a_step_and_the_callers_rows_are_committed_together(
    backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest
) -> None:
    outside = counters(backend.states, request)
    async with AsyncSession(own) as session:
        view = backend.within(session)
        assert view.states.runtime is ASYNCIO
        cells = counters(view.states, request)
        assert (await cells.transact("a", Add()))[0] == 0
        await session.execute(text("INSERT INTO orders VALUES (1)"))
        assert (await cells.transact("a", Add()))[0] == 1  # it sees its own writes
        assert await cells.read("a") == (2,)
        assert await cells.transact_many(["a", "b"], AddMany(1, 5)) == [2, 0]
        assert await outside.read("a") is None  # and nobody else does
        await session.commit()
    assert await outside.read_many(["a", "b"]) == [(3,), (5,)]
    assert await orders(own) == 1


async def test_a_rollback_undoes_both(backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest) -> None:
    outside = counters(backend.states, request)
    await outside.transact("a", Add(7))
    for first in ("step", "row"):
        async with AsyncSession(own) as session:
            if first == "row":
                await session.execute(text("INSERT INTO orders VALUES (1)"))
            await counters(backend.within(session).states, request).transact("a", Add())
            if first == "step":
                await session.execute(text("INSERT INTO orders VALUES (1)"))
            await session.rollback()
        assert await outside.read("a") == (7,)
        assert await orders(own) == 0


async def test_a_connection_is_as_good_as_a_session(
    backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest
) -> None:
    async with own.begin() as connection:
        await counters(backend.within(connection).states, request).transact("a", Add())
    async with own.connect() as connection:
        await counters(backend.within(connection).states, request).transact("a", Add())
        await connection.rollback()
    assert await counters(backend.states, request).read("a") == (1,)


async def test_a_transition_that_raises_leaves_the_transaction_usable(
    backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest
) -> None:
    async with AsyncSession(own) as session, session.begin():
        cells = counters(backend.within(session).states, request)
        await session.execute(text("INSERT INTO orders VALUES (1)"))
        with pytest.raises(ZeroDivisionError):
            await cells.transact("a", Explode(ZeroDivisionError()))
        await cells.transact("a", Add())
    assert await orders(own) == 1
    assert await counters(backend.states, request).read("a") == (1,)


async def test_delete_and_time_in_a_transaction(
    backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest
) -> None:
    outside = counters(backend.states, request)
    backend.shift(100.0)
    before = await outside.transact("a", Time())
    backend.shift(-50.0)
    async with AsyncSession(own) as session, session.begin():
        cells = counters(backend.within(session).states, request)
        assert await cells.transact("a", Time()) >= before
        await cells.delete("a")
        assert await cells.transact("a", Look()) is None
    assert await outside.read("a") is None


async def test_topics_are_notified_at_the_commit_and_not_before(
    backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest
) -> None:
    outside = counters(backend.states, request)
    topic = f"{request.node.name}"
    async with backend.signals.subscribe(topic) as subscription, AsyncSession(own) as session:
        cells = counters(backend.within(session).states, request)
        await cells.transact("a", Add(wake=(topic,)))
        assert not await subscription.wait(0.1)
        await session.rollback()
        assert not await subscription.wait(0.1)
        await cells.transact("a", Add(wake=(topic,)))
        async with session.begin_nested():
            await cells.transact("a", Add(wake=(topic,)))
        assert not await subscription.wait(0.1)
        await session.commit()
        assert await subscription.wait(60.0)
        assert await outside.read("a") == (2,)


def test_a_step_rolled_back_is_not_notified_by_the_next_commit(
    sqlite_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{sqlite_path}"
    woken: list[str] = []
    own = create_engine(url)
    with SQLBackend(url) as backend, Session(own) as session:
        finish(backend.create())
        monkeypatch.setattr(LocalSignals, "wake", lambda _, topics: woken.extend(topics))
        cells = backend.within(session).states.cells(Space("rolled back", IntegersCodec()))
        finish(cells.transact("a", Add(wake=("undone",))))
        session.rollback()
        finish(cells.transact("a", Add(wake=("done",))))
        session.commit()
        session.execute(text("SELECT 1"))
        session.commit()
    own.dispose()
    assert woken == ["=done"]


async def test_topics_of_a_connection_are_heard_too(
    backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest
) -> None:
    async with backend.signals.subscribe(request.node.name) as subscription:
        async with own.begin() as connection:
            cells = counters(backend.within(connection).states, request)
            await cells.transact("a", Add(wake=(request.node.name,)))
            assert not await subscription.wait(0.1)
        assert await subscription.wait(60.0)


@pytest.fixture
def blocking_own(blocking_url: str, engine: Engine) -> Iterator[Engine]:
    made = create_engine(blocking_url)
    yield made
    made.dispose()


@contextmanager
def plainly(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


@pytest.mark.parametrize("open_one", [Session, plainly], ids=["session", "connection"])
def test_without_a_loop(
    blocking_url: str,
    blocking_own: Engine,
    request: pytest.FixtureRequest,
    open_one: Callable[[Engine], AbstractContextManager[Any]],
) -> None:
    with SQLBackend(blocking_url) as backend:
        outside = counters(backend.states, request)
        for end, expected in (("rollback", None), ("commit", (1,))):
            with open_one(blocking_own) as mine:
                view = backend.within(mine)
                assert view.states.runtime is BLOCKING
                finish(counters(view.states, request).transact("a", Add()))
                assert finish(outside.read("a")) is None
                getattr(mine, end)()
            assert finish(outside.read("a")) == expected


def test_a_transaction_in_another_database_is_refused(sqlite_path: Any, postgres_url: str) -> None:
    backend = SQLBackend(f"sqlite:///{sqlite_path}")
    other = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with Session(other) as session, pytest.raises(ValueError, match="postgresql"):
        backend.within(session)
    with other.connect() as connection, pytest.raises(ValueError, match="postgresql"):
        backend.within(connection)
    other.dispose()


# Python's sqlite3 begins a transaction with the first write only, unless told otherwise, and the
# release of an outermost savepoint commits: a step would survive its caller's rollback.
@pytest.mark.parametrize("begins", ["late", "at once", "for writing"])
async def test_sqlite_sessions_that_begin_late_or_early(sqlite_path: Any, begins: str) -> None:
    url = f"sqlite+aiosqlite:///{sqlite_path}"
    own = create_async_engine(url)
    if begins != "late":
        statement = {"at once": "BEGIN", "for writing": "BEGIN IMMEDIATE"}[begins]

        @event.listens_for(own.sync_engine, "connect")
        def connect(connection: Any, _record: object) -> None:
            connection.isolation_level = None

        @event.listens_for(own.sync_engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql(statement)

    async with SQLBackend(url) as backend:
        await backend.create()
        cells = backend.states.cells(Space("late", IntegersCodec()))
        for end, expected in (("rollback", None), ("commit", (2,))):
            async with AsyncSession(own) as session:
                inside = backend.within(session).states.cells(Space("late", IntegersCodec()))
                assert await inside.transact("a", Look()) is None
                await inside.transact("a", Add())
                await inside.transact("a", Add())
                await getattr(session, end)()
            assert await cells.read("a") == expected
    await own.dispose()


class TestOnPostgres:
    @pytest.fixture
    def async_url(self, postgres_async_url: str) -> str:
        return postgres_async_url

    async def test_the_row_is_held_until_the_transaction_ends(
        self, backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Were a row that is held waited for, everybody would now wait this long.
        monkeypatch.setattr(dialect, "_INSERT_WAIT", "30s")
        outside = counters(backend.states, request)
        await outside.transact("a", Add())
        async with AsyncSession(own) as session:
            await counters(backend.within(session).states, request).transact("a", Add(10))
            waiting = asyncio.ensure_future(outside.transact("a", Add()))
            for place in range(20):
                await asyncio.wait_for(outside.transact(f"other{place}", Add()), 20.0)
            assert await outside.transact("a", Look()) == (1,)
            assert not waiting.done()
            await session.commit()
        assert (await waiting)[0] == 11

    async def test_a_key_being_inserted_stops_nobody_for_long(
        self, backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest
    ) -> None:
        outside = counters(backend.states, request)
        async with AsyncSession(own) as session:
            await counters(backend.within(session).states, request).transact("a", Add(10))
            waiting = asyncio.ensure_future(outside.transact("a", Add()))
            until = asyncio.get_running_loop().time() + 1.0
            # Long enough for the short wait of a batch to end a few times.
            while asyncio.get_running_loop().time() < until:
                await asyncio.wait_for(outside.transact("other", Add()), 60.0)
            assert not waiting.done()
            await session.rollback()
        assert (await waiting)[0] == 0

    async def test_a_step_waits_for_a_held_row_until_its_deadline(
        self, async_url: str, backend: SQLBackend, own: AsyncEngine, request: pytest.FixtureRequest
    ) -> None:
        async with SQLBackend(async_url, timeout_s=1.0) as hasty, AsyncSession(own) as session:
            await counters(backend.states, request).transact("a", Add())
            await counters(backend.within(session).states, request).transact("a", Add(10))
            with pytest.raises(BackendUnavailable, match="another transaction holds the row"), with_deadline(1.5):
                await counters(hasty.states, request).transact("a", Add())
            # Without a deadline it waits far longer than `timeout_s`, because the database is well.
            waiting = asyncio.ensure_future(counters(hasty.states, request).transact("a", Add()))
            await asyncio.wait({waiting}, timeout=1.5)
            assert not waiting.done()
            await session.commit()
            assert (await waiting)[0] == 11

    async def test_a_row_made_by_another_between_look_and_write_is_decided_again(
        self, backend: SQLBackend, own: AsyncEngine, postgres_url: str, request: pytest.FixtureRequest
    ) -> None:
        url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
        with SQLBackend(url) as other:
            theirs = counters(other.states, request)
            step = Meddled(lambda run: finish(theirs.transact("a", Add(5))) if run == 1 else None)
            async with AsyncSession(own) as session, session.begin():
                answer = await counters(backend.within(session).states, request).transact("a", step)
            assert (answer, step.runs) == (5, 2)
        assert await counters(backend.states, request).read("a") == (6,)
