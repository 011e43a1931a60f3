"""Built at import, opened at first use, one set of connections per loop and per process."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import BLOCKING, finish
from sdpatterns.ports.states import Cells, Space
from sdpatterns.testing.contracts.steps import Add, add_each
from tests.backends.sqlalchemy.steps import Meddled, Numbers


def counters(backend: SQLBackend, space: str) -> Cells[Numbers]:
    return backend.states.cells(Space(space, IntegersCodec()))


def sessions(engine: Engine) -> int:
    """How many clients the Postgres server has besides this one."""
    with engine.connect() as connection:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return connection.execute(text(query)).scalar_one()


def soon(condition: Callable[[], bool], *, within_s: float = 60.0) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_building_opens_nothing(tmp_path: Path) -> None:
    threads = threading.active_count()
    for url in ("sqlite+aiosqlite", "sqlite"):
        backend = SQLBackend.from_url(f"{url}:///{tmp_path}/nowhere/cells.db")
        backend.states.cells(Space("a", IntegersCodec()))
        backend.signals.subscribe("a")
    for url in ("postgresql+asyncpg", "postgresql+psycopg"):
        SQLBackend.from_url(f"{url}://nobody@127.0.0.1:1/none").states.cells(Space("a", IntegersCodec()))
    assert threading.active_count() == threads
    assert list(tmp_path.iterdir()) == []


def test_two_loops_one_after_another_without_closing(async_url: str, engine: Engine) -> None:
    backend = SQLBackend(async_url)
    before = sessions(engine) if "postgresql" in async_url else 0

    async def program() -> list[int]:
        async with backend.signals.subscribe("topic"):
            return await add_each(counters(backend, "loops"), f"{async_url}", 3)

    assert [asyncio.run(program()) for _ in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    if "postgresql" in async_url:
        assert soon(lambda: sessions(engine) == before), "a loop that ended left its connections behind"
    else:
        asyncio.run(backend.__aexit__(None, None, None))


def test_loops_in_several_threads_share_a_backend(async_url: str, engine: Engine) -> None:
    backend = SQLBackend(async_url)
    gate = threading.Barrier(4)

    def program(_: int) -> list[int]:
        async def main() -> list[int]:
            gate.wait()
            work = [add_each(counters(backend, "threads"), async_url, 5) for _ in range(5)]
            return [answer for answers in await asyncio.gather(*work) for answer in answers]

        return asyncio.run(main())

    with ThreadPoolExecutor(4) as pool:
        answers = [answer for some in pool.map(program, range(4)) for answer in some]
    assert sorted(answers) == list(range(100))
    asyncio.run(backend.__aexit__(None, None, None))


def in_child(blocks: bool, backend: SQLBackend, key: str, inbox: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    if blocks:
        inbox.put(finish(add_each(counters(backend, "fork"), key, 20)))
        finish(backend.__aexit__(None, None, None))
    else:

        async def program() -> None:
            async with backend, backend.signals.subscribe("topic") as subscription:
                inbox.put(await add_each(counters(backend, "fork"), key, 20))
                await backend.signals.notify("topic")
                assert await subscription.wait(60.0)

        asyncio.run(program())


@pytest.mark.parametrize("blocks", [True, False], ids=["blocking", "asyncio"])
def test_a_fork_gets_connections_of_its_own(async_url: str, blocking_url: str, engine: Engine, *, blocks: bool) -> None:
    backend = SQLBackend(blocking_url if blocks else async_url)
    key = f"{blocks} {async_url}"
    fork = multiprocessing.get_context("fork")
    inbox = fork.Queue()

    def together() -> list[int]:
        if blocks:
            return finish(add_each(counters(backend, "fork"), key, 20))
        return asyncio.run(add_each(counters(backend, "fork"), key, 20))

    answers = together()  # connections are open when the fork comes
    children = [fork.Process(target=in_child, args=(blocks, backend, key, inbox)) for _ in range(2)]
    for child in children:
        child.start()
    answers += together()
    answers += inbox.get(timeout=120) + inbox.get(timeout=120)
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    answers += together()  # the parent's own connections are unharmed
    assert sorted(answers) == list(range(100))
    close = backend.__aexit__(None, None, None)
    finish(close) if blocks else asyncio.run(close)


def test_a_backend_that_is_forgotten_ends_its_thread(sqlite_path: Path) -> None:
    backend = SQLBackend(f"sqlite+aiosqlite:///{sqlite_path}")
    asyncio.run(backend.create())
    assert any(thread.name == "sdpatterns-sqlite" for thread in threading.enumerate())
    del backend

    def is_gone() -> bool:
        gc.collect()
        return not any(thread.name == "sdpatterns-sqlite" for thread in threading.enumerate())

    assert soon(is_gone)


@pytest.mark.anyio
async def test_a_backend_may_be_forgotten_in_the_middle_of_its_own_step(sqlite_path: Path) -> None:
    backend = SQLBackend(f"sqlite+aiosqlite:///{sqlite_path}")
    await backend.create()
    threads: list[threading.Thread] = []

    def forget(_: int) -> None:
        threads.append(threading.current_thread())
        assert backend._resources._finalizer is not None
        backend._resources._finalizer()  # as the collector would, if it ran here

    await counters(backend, "forgotten").transact("a", Meddled(forget))
    [writer] = threads
    await asyncio.to_thread(writer.join, 60.0)
    assert not writer.is_alive()
    assert await counters(backend, "forgotten").read("a") == (1,)
    await backend.__aexit__(None, None, None)


def test_the_watching_thread_ends_when_there_are_no_subscribers(sqlite_path: Path) -> None:
    with SQLBackend(f"sqlite:///{sqlite_path}") as backend:
        finish(backend.create())

        async def hears() -> None:
            async with backend.signals.subscribe("topic"):
                assert any(thread.name == "sdpatterns-sqlite-listen" for thread in threading.enumerate())

        finish(hears())
        assert soon(lambda: not any(thread.name == "sdpatterns-sqlite-listen" for thread in threading.enumerate()))
        finish(hears())


def test_an_engine_of_the_users_is_copied_and_never_used(blocking_url: str, async_url: str, engine: Engine) -> None:
    mine = create_engine(blocking_url, pool_size=1, max_overflow=0)
    with mine.connect(), SQLBackend(mine) as backend:  # its only connection is taken
        assert finish(add_each(counters(backend, "mine"), blocking_url, 3)) == [0, 1, 2]
    mine.dispose()
    theirs = create_async_engine(async_url)

    async def program() -> list[int]:
        async with SQLBackend(theirs) as backend:
            return await add_each(counters(backend, "mine"), blocking_url, 2)

    assert asyncio.run(program()) == [3, 4]
    assert asyncio.run(program()) == [5, 6]
    # SQLAlchemy 2.0 gives a SQLite file no pool at all.
    assert theirs.pool.status() == "NullPool" or "Connections in pool: 0" in theirs.pool.status()


def test_settings_of_the_users_engine_are_kept(postgres_url: str) -> None:
    url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
    mine = create_engine(url, connect_args={"application_name": "the shop"})
    with SQLBackend(mine) as backend:
        finish(backend.create())
        names = finish(
            backend._on_one(lambda connection: connection.exec_driver_sql("SHOW application_name").scalar_one())
        )
        assert names == "the shop"


def test_the_blocking_door(blocking_url: str, async_url: str, engine: Engine) -> None:
    inner = SQLBackend(blocking_url)
    assert inner.runtime is inner.states.runtime is inner.signals.runtime is BLOCKING
    backend = blocking(inner)
    backend.create()
    cells = blocking(counters(inner, "door"))
    with backend:
        assert cells.transact(blocking_url, Add())[0] == 0
        assert cells.read(blocking_url) == (1,)
    with pytest.raises(TypeError, match="blocking=True"):
        blocking(SQLBackend(async_url))
    with pytest.raises(TypeError, match="blocking=True"), SQLBackend(async_url):
        pass
    with pytest.raises(RuntimeError, match="blocking=True"):
        finish(counters(SQLBackend(async_url), "door").read("a"))


def test_closing_leaves_no_connection(postgres_async_url: str) -> None:
    engine = create_engine(postgres_async_url.replace("asyncpg", "psycopg"))
    backend = SQLBackend(postgres_async_url)
    asyncio.run(backend.create())
    before = sessions(engine)

    async def program() -> int:
        async with backend, backend.signals.subscribe("a"):
            await asyncio.gather(*(add_each(counters(backend, "close"), f"{i}", 2) for i in range(20)))
            return sessions(engine)

    during = asyncio.run(program())
    assert before < during <= before + 3
    assert soon(lambda: sessions(engine) == before)
    engine.dispose()
