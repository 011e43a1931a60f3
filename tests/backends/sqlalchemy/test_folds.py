"""Many waiting steps, one write; what one of them does is its own affair."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.engine.transactions import AsyncpgTransaction, PsycopgTransaction, SQLiteTransaction
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.errors import OutcomeUnknown, SdpatternsError
from sdpatterns.ports.states import Cells, Space
from sdpatterns.testing.contracts.steps import Add, AddMany, Explode, Look, add_each
from tests.backends.sqlalchemy.steps import Meddled, Numbers

pytestmark = pytest.mark.anyio


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that a batch sends, while the test runs."""
    sent: list[str] = []

    def noted(method: Callable[..., Any]) -> Callable[..., Any]:
        async def noting(self: object, statement: Any, *rest: Any) -> Any:
            sent.append(statement if isinstance(statement, str) else statement.sql)
            return await method(self, statement, *rest)

        return noting

    for kind in (AsyncpgTransaction, PsycopgTransaction, SQLiteTransaction):
        for name in ("fetch", "execute"):
            monkeypatch.setattr(kind, name, noted(getattr(kind, name)))
    return sent


def counters(backend: SQLBackend, request: pytest.FixtureRequest) -> Cells[Numbers]:
    return backend.states.cells(Space(f"folds/{request.node.name}", IntegersCodec()))


async def test_the_steps_of_one_turn_share_one_write(
    backend: SQLBackend, statements: list[str], request: pytest.FixtureRequest
) -> None:
    cells = counters(backend, request)
    await cells.transact("warm", Add())
    statements.clear()
    answers = await asyncio.gather(*(cells.transact(f"{place % 8}", Add()) for place in range(64)))
    assert sorted(before for before, _ in answers) == sorted([*range(8)] * 8)
    # SQLite: BEGIN, read, write, COMMIT. Postgres: read, write.
    assert 2 <= len(statements) <= 4


async def test_a_step_that_changes_nothing_writes_nothing(
    backend: SQLBackend, statements: list[str], request: pytest.FixtureRequest
) -> None:
    cells = counters(backend, request)
    await cells.transact("a", Add())
    statements.clear()
    await cells.transact("a", Look())
    await cells.delete("none")
    await cells.read_many(["a", "b"])
    assert statements
    assert not [statement for statement in statements if "INSERT" in statement or "DELETE" in statement]


async def test_more_callers_than_one_batch_holds(backend: SQLBackend, request: pytest.FixtureRequest) -> None:
    cells = counters(backend, request)
    answers = await asyncio.gather(*(cells.transact(f"{place % 7}", Add()) for place in range(3000)))
    assert len(answers) == 3000
    assert sum(state[0] for state in await cells.read_many([*"0123456"]) if state) == 3000


async def test_more_cells_in_one_step_than_one_statement_reads(
    backend: SQLBackend, request: pytest.FixtureRequest
) -> None:
    cells = counters(backend, request)
    keys = [f"{place}" for place in range(2500)]
    await cells.transact_many(keys, AddMany(*[1] * len(keys)))
    assert await cells.read_many(keys) == [(1,)] * len(keys)


async def test_a_step_that_raises_harms_only_its_caller(backend: SQLBackend, request: pytest.FixtureRequest) -> None:
    cells = counters(backend, request)
    bugs = [ZeroDivisionError(f"{place}") for place in range(5)]
    work = [cells.transact("a", Explode(bugs[place // 2]) if place % 2 else Add()) for place in range(10)]
    ends = await asyncio.gather(*work, return_exceptions=True)
    assert ends[1::2] == bugs
    assert [end[0] for end in ends[::2] if isinstance(end, tuple)] == [0, 1, 2, 3, 4]


class Liar:
    """A codec whose bytes are none."""

    def encode(self, value: Any, /) -> bytes:
        return object()  # type: ignore[return-value]

    def decode(self, data: bytes, /) -> Any:
        return data


async def test_a_value_that_the_database_refuses_harms_only_its_caller(
    backend: SQLBackend, request: pytest.FixtureRequest
) -> None:
    good, bad = counters(backend, request), backend.states.cells(Space("liar", Liar()))
    work = [bad.transact("a", Add()) if place == 3 else good.transact(f"{place}", Add()) for place in range(8)]
    ends = await asyncio.gather(*work, return_exceptions=True)
    assert isinstance(ends.pop(3), SdpatternsError)
    assert [end[0] for end in ends if isinstance(end, tuple)] == [0] * 7


async def test_a_caller_cancelled_before_its_turn_leaves_nothing(
    backend: SQLBackend, request: pytest.FixtureRequest
) -> None:
    cells = counters(backend, request)
    step = Meddled(lambda _: None)
    task = asyncio.ensure_future(cells.transact("a", step))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await cells.read("a") is None
    assert step.runs == 0


async def test_cancelling_at_any_moment_never_stops_the_others(
    backend: SQLBackend, request: pytest.FixtureRequest
) -> None:
    cells, chance = counters(backend, request), random.Random(7)

    async def victim() -> None:
        async with asyncio.timeout(chance.random() * 0.01):
            await add_each(cells, "a", 1000)

    async def worker(place: int) -> list[int]:
        for _ in range(20):
            await asyncio.sleep(chance.random() * 0.002)
            await cells.transact(f"own{place}", Add())
        return await add_each(cells, f"own{place}", 5)

    victims = [victim() for _ in range(40)]
    workers = [worker(place) for place in range(20)]
    async with asyncio.timeout(120.0):
        ends = await asyncio.gather(*workers, *victims, return_exceptions=True)
    assert ends[:20] == [[*range(20, 25)]] * 20
    assert {type(end) for end in ends[20:]} <= {TimeoutError}


async def test_a_step_that_comes_in_any_turn_after_another_is_carried(
    backend: SQLBackend, request: pytest.FixtureRequest
) -> None:
    cells = counters(backend, request)

    async def late(turns: int) -> None:
        await first
        for _ in range(turns):
            await asyncio.sleep(0)
        await cells.transact("b", Add())

    async with asyncio.timeout(120.0):
        for _ in range(20):
            first = asyncio.ensure_future(cells.transact("a", Add()))
            await asyncio.gather(*(late(turns) for turns in range(8)))
    assert await cells.read("b") == (160,)


async def test_only_the_losers_of_a_conflict_are_decided_again(
    postgres_async_url: str, postgres_url: str, request: pytest.FixtureRequest
) -> None:
    async with SQLBackend(postgres_async_url) as backend:
        await backend.create()
        cells = counters(backend, request)
        await asyncio.gather(*(cells.transact(f"{place}", Add()) for place in range(10)))

        def meddle(run: int) -> None:
            if run == 1:
                with psycopg.connect(postgres_url) as connection:
                    connection.execute(
                        "UPDATE sdp_cells SET version = version + 1, state = '1:100' WHERE space = %s AND key = '3'",
                        [cells.space.name],
                    )

        steps = [Meddled(meddle if place == 3 else lambda _: None) for place in range(10)]
        answers = await asyncio.gather(*(cells.transact(f"{place}", step) for place, step in enumerate(steps)))
        assert answers == [1, 1, 1, 100, 1, 1, 1, 1, 1, 1]
        assert [step.runs for step in steps] == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]


async def test_a_key_dropped_and_made_again_is_not_taken_for_the_old_one(
    postgres_async_url: str, postgres_url: str, request: pytest.FixtureRequest
) -> None:
    url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
    async with SQLBackend(postgres_async_url) as backend:
        with SQLBackend(url) as other:
            await backend.create()
            cells, theirs = counters(backend, request), counters(other, request)
            await cells.transact("a", Add())

            def meddle(run: int) -> None:
                if run == 1:
                    finish(theirs.delete("a"))
                    finish(theirs.transact("a", Add(41)))

            assert await cells.transact("a", Meddled(meddle)) == 41


async def test_clients_that_rewrite_one_key_all_the_time_all_get_through(
    async_url: str, backend: SQLBackend, request: pytest.FixtureRequest
) -> None:
    async with SQLBackend(async_url) as second, SQLBackend(async_url) as third:
        clients = [counters(one, request) for one in (backend, second, third)]
        work = [add_each(clients[place % 3], "hot", 20) for place in range(30)]
        answers = [answer for some in await asyncio.gather(*work) for answer in some]
    assert sorted(answers) == list(range(600))


def test_threads_share_one_write_too(
    blocking_url: str, engine: Engine, statements: list[str], request: pytest.FixtureRequest
) -> None:
    with SQLBackend(blocking_url) as backend:
        cells = counters(backend, request)
        finish(cells.transact("a", Add()))
        gate = threading.Event()
        statements.clear()
        with ThreadPoolExecutor(9) as pool:
            # One holds the connection in the middle of its step until eight others wait.
            first = pool.submit(lambda: finish(cells.transact("b", Meddled(lambda _: gate.wait(60.0)))))
            rest = [pool.submit(lambda: finish(cells.transact("a", Add()))) for _ in range(8)]
            while backend._resources.here().batches.waiting < 8:
                pass
            gate.set()
            assert first.result(60.0) == 0
            assert sorted(one.result(60.0)[0] for one in rest) == [*range(1, 9)]
        assert len(statements) <= 8


def test_a_thread_that_is_interrupted_leaves_nobody_waiting(
    blocking_url: str, engine: Engine, request: pytest.FixtureRequest
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with SQLBackend(blocking_url) as backend:
        cells = counters(backend, request)
        with pytest.raises(KeyboardInterrupt):
            finish(cells.transact("a", Meddled(interrupt)))
        assert finish(cells.read("a")) is None
        assert finish(cells.transact("a", Add()))[0] == 0


async def test_an_interruption_in_the_writers_thread_is_told(sqlite_path: object) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    async with SQLBackend(f"sqlite+aiosqlite:///{sqlite_path}") as backend:
        await backend.create()
        cells: Cells[Numbers] = backend.states.cells(Space("interrupted", IntegersCodec()))
        with pytest.raises(OutcomeUnknown):
            await cells.transact("a", Meddled(interrupt))
        assert (await cells.transact("a", Add()))[0] == 0


@pytest.mark.parametrize("key", ["k" * 1025, "ключ" * 129, "\ud800"])
async def test_a_key_that_cannot_be_stored_is_refused_before_anything_is_sent(
    backend: SQLBackend, key: str, request: pytest.FixtureRequest
) -> None:
    cells = counters(backend, request)
    for work in (
        cells.transact(key, Add()),
        cells.read(key),
        cells.delete(key),
        cells.transact_many([key], AddMany(1)),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - a surrogate is refused by Python itself
            await work
