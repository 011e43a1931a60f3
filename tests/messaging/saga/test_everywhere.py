"""Sagas on every backend that has logs and queues: the same promises, kept by real servers."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.errors import SagaUndone
from sdpatterns.messaging.saga import RunStatus, SagaRun, Sagas, SagaWorker, current_step
from tests.backends.everywhere import each_backend_with_queues, unique

backend = each_backend_with_queues
pytestmark = pytest.mark.anyio

PATIENCE_S = 120.0


class Declined(Exception):
    """The card is not good."""


class Book:
    """Effects, by the keys of the requests."""

    def __init__(self) -> None:
        self.effects: dict[str, int] = {}

    async def add(self, amount: int) -> int:
        self.effects.setdefault(current_step().idempotency_key, amount)
        return amount

    async def take_away(self, amount: int) -> None:
        self.effects.setdefault(current_step().idempotency_key, -amount)

    async def decide(self, amount: int) -> None:
        if amount > 10:
            raise Declined(f"{amount} is too much")


@pytest.fixture
def book() -> Book:
    return Book()


def declare(sagas: Sagas, book: Book) -> Any:
    @sagas.saga(give_up_on=(Declined,))
    async def order(run: SagaRun, amount: int) -> int:
        await run.step("reserve", book.add, amount, undo=book.take_away)
        await run.parallel(
            run.step("charge", book.add, 2 * amount, undo=book.take_away),
            run.step("stamp", book.add, 1, undo=book.take_away),
        )
        await run.sleep("rest", 0.01)
        await run.pivot("decide", book.decide, amount)
        return int(await run.signal("approved")) + amount

    return order


async def test_runs_end_and_what_failed_is_undone(backend: Any, book: Book) -> None:
    sagas = Sagas(unique("saga"), backend=backend)
    order = declare(sagas, book)
    async with SagaWorker(sagas), SagaWorker(sagas):
        good = [await order.start(amount) for amount in range(1, 6)]
        bad = await order.start(11)
        for handle in good:
            assert await handle.signal("approved", 100)
        assert [await handle.result(PATIENCE_S) for handle in good] == [101, 102, 103, 104, 105]
        with pytest.raises(SagaUndone, match="11 is too much") as caught:
            await bad.result(PATIENCE_S)
        # A message that is to wake a run comes again later, where a worker had the run.
        with anyio.fail_after(PATIENCE_S):
            while sum((await sagas.queue.depth())[:3]):  # noqa: ASYNC110 - from outside
                await anyio.sleep(0.02)
    assert isinstance(caught.value.__cause__, Declined)
    assert sum(book.effects.values()) == 3 * (1 + 2 + 3 + 4 + 5) + 5
    assert (await sagas.queue.depth())[:4] == (0, 0, 0, 0), "runs that have ended are kept, and are no work"
    assert (await sagas.retained.depth())[:4] == (0, 6, 0, 0)


async def test_a_run_of_a_worker_that_died_goes_on(backend: Any, book: Book) -> None:
    sagas = Sagas(unique("saga"), backend=backend)
    handle = await declare(sagas, book).start(3)
    assert len((await sagas.queue.claim(1, 8.0)).messages) == 1  # by a worker that says nothing more
    await handle.signal("approved", 0)
    backend.shift(9.0)
    async with SagaWorker(sagas):
        assert await handle.result(PATIENCE_S) == 3


async def test_a_run_is_dropped_some_time_after_its_end_and_never_runs_again(backend: Any, book: Book) -> None:
    sagas = Sagas(unique("saga"), backend=backend, keep_s=3600.0)

    @sagas.saga
    async def order(run: SagaRun) -> int:
        return await run.step("reserve", book.add, 7)

    handle = await order.options(id="1").start()
    await SagaWorker(sagas).run_due()
    backend.shift(3599.0)
    await SagaWorker(sagas).run_due()
    assert await handle.result(PATIENCE_S) == 7
    backend.shift(3601.0)
    await SagaWorker(sagas).run_due()
    assert await handle.status() is RunStatus.DROPPED
    await order.options(id="1").start()
    await SagaWorker(sagas).run_due()
    assert await handle.status() is RunStatus.DROPPED
    assert book.effects == {f"{sagas.name}/1/reserve": 7}
    for queue in (sagas.queue, sagas.retained):
        assert (await queue.depth())[:4] == (0, 0, 0, 0)


@pytest.fixture(params=["sqlite", "postgres"])
async def sql_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'saga.db'}"
    return str(request.getfixturevalue("postgres_url")).replace("://", "+asyncpg://")


async def test_a_run_begins_with_the_callers_transaction_or_not_at_all(sql_url: str, book: Book) -> None:
    engine = create_async_engine(sql_url)
    async with SQLBackend.from_url(sql_url, timeout_s=PATIENCE_S) as backend:
        await backend.create()
        sagas = Sagas(unique("saga"), backend=backend)
        order = declare(sagas, book)
        async with AsyncSession(engine) as session:
            lost = await order.options(id="lost").within(backend.within(session)).start(1)
            await session.rollback()
        async with AsyncSession(engine) as session, session.begin():
            kept = await order.options(id="kept").within(backend.within(session)).start(2)
        assert await kept.signal("approved", 0)
        async with SagaWorker(sagas):
            assert await kept.result(PATIENCE_S) == 2
        assert await lost.status() is RunStatus.UNKNOWN
    await engine.dispose()
    assert sum(book.effects.values()) == 7
