"""A database that is away, at start and later, and one that is not what it should be."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text

from sdpatterns.backends.sqlalchemy import SCHEMA_VERSION, SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable, UnknownVersion
from sdpatterns.ports.states import Cells, Space
from sdpatterns.testing.contracts.steps import Add, Look, add_each
from sdpatterns.testing.servers import ServerProcess, postgres_process
from tests.backends.sqlalchemy.steps import Numbers

pytestmark = pytest.mark.anyio


def counters(backend: SQLBackend) -> Cells[Numbers]:
    return backend.states.cells(Space("outage", IntegersCodec()))


AWAY = "postgresql+{}://shop:hush-hush@127.0.0.1:1/shop"


async def test_postgres_down_at_start_is_one_line_with_the_url_and_the_fix() -> None:
    async with SQLBackend(AWAY.format("asyncpg")) as backend:
        cells = counters(backend)
        for work in (backend.create, lambda: cells.transact("a", Add()), lambda: cells.read("a")):
            with pytest.raises(BackendUnavailable) as caught:
                await work()
            said = str(caught.value)
            assert "127.0.0.1:1/shop" in said
            assert "start the database" in said
            assert "hush" not in said
            assert "\n" not in said
        with pytest.raises(BackendUnavailable):
            async with backend.signals.subscribe("a"):
                pass
        with pytest.raises(BackendUnavailable):
            await backend.signals.notify("a")


def test_the_same_without_a_loop() -> None:
    with SQLBackend(f"{AWAY.format('psycopg')}?sslpassword=hush-hush") as backend:
        cells = counters(backend)
        for work in (backend.create, lambda: cells.transact("a", Add()), lambda: backend.signals.notify("a")):
            with pytest.raises(BackendUnavailable, match="start the database") as caught:
                finish(work())
            assert "hush" not in str(caught.value)
        with pytest.raises(BackendUnavailable):
            finish(backend.signals.subscribe("a").__aenter__())


async def test_callers_of_one_outage_get_an_exception_each() -> None:
    async with SQLBackend(AWAY.format("asyncpg")) as backend:
        work = [counters(backend).transact(f"{place}", Add()) for place in range(10)]
        done = await asyncio.gather(*work, return_exceptions=True)
        assert {type(end) for end in done} == {BackendUnavailable}
        assert len({id(end) for end in done}) == 10


def test_postgres_lost_at_run_time_and_back_again() -> None:
    with postgres_process() as (server, url):
        asyncio.run(_through_a_restart(server, url.replace("postgresql:", "postgresql+asyncpg:")))
        _through_a_restart_in_threads(server, url.replace("postgresql:", "postgresql+psycopg:"))


async def _through_a_restart(server: ServerProcess, url: str) -> None:
    async with SQLBackend(url) as backend:
        await backend.create()
        cells = counters(backend)
        async with backend.signals.subscribe("bell") as subscription:
            assert await add_each(cells, "a", 3) == [0, 1, 2]
            server.kill()
            for _ in range(3):
                with pytest.raises(BackendUnavailable):
                    await cells.transact("a", Add())
            server.start()
            assert await add_each(cells, "a", 3) == [3, 4, 5]
            # Announcements may have been missed while it was away: the subscription is told to look.
            assert await subscription.wait(60.0)
            await backend.signals.notify("bell")
            assert await subscription.wait(60.0)


def _through_a_restart_in_threads(server: ServerProcess, url: str) -> None:
    with SQLBackend(url) as backend:
        cells = counters(backend)
        subscription = backend.signals.subscribe("bell")
        finish(subscription.__aenter__())
        assert finish(add_each(cells, "b", 3)) == [0, 1, 2]
        server.kill()
        with pytest.raises(BackendUnavailable):
            finish(cells.transact("b", Add()))
        server.start()
        assert finish(add_each(cells, "b", 3)) == [3, 4, 5]
        assert finish(subscription.wait(60.0))
        finish(backend.signals.notify("bell"))
        assert finish(subscription.wait(60.0))
        finish(subscription.__aexit__(None, None, None))


async def test_a_connection_the_server_ended_while_idle_is_noticed_without_an_error(
    postgres_async_url: str,
) -> None:
    async with SQLBackend(postgres_async_url) as backend, SQLBackend(postgres_async_url) as admin:
        await backend.create()
        cells = counters(backend)
        await cells.transact("idle", Add())
        kill = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        await admin._on_one(lambda connection: connection.exec_driver_sql(kill).all())
        assert (await cells.transact("idle", Add()))[0] == 1


async def test_tables_that_are_missing_are_named_with_the_fix(sqlite_path: Path) -> None:
    async with SQLBackend(f"sqlite+aiosqlite:///{sqlite_path}") as backend:
        with pytest.raises(BackendUnavailable, match=r"await backend.create\(\)"):
            await counters(backend).transact("a", Add())
        await backend.create()
        assert (await counters(backend).transact("a", Add()))[0] == 0


def test_missing_tables_in_postgres(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE without_tables")
    url = f"{postgres_url.rpartition('/')[0]}/without_tables".replace("postgresql:", "postgresql+psycopg:")
    with SQLBackend(url) as backend:
        with pytest.raises(BackendUnavailable, match=r"await backend.create\(\)"):
            finish(counters(backend).transact("a", Add()))
        finish(backend.create())
        assert finish(counters(backend).transact("a", Add()))[0] == 0
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE without_tables WITH (FORCE)")


def test_a_wrong_password_and_a_wrong_database_are_named_with_the_fix(postgres_url: str) -> None:
    url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
    server = url.rpartition("@")[2]
    wrong = {
        f"postgresql+psycopg://postgres:wrong@{server}": "correct the user and the password",
        f"{url}_none": "make the database",
    }
    for address, fix in wrong.items():
        with SQLBackend(address) as backend, pytest.raises(BackendUnavailable, match=fix):
            finish(backend.create())


async def test_a_newer_schema_is_refused_and_left_as_it_is(backend: SQLBackend, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE sdp_schema SET version = {SCHEMA_VERSION + 1}"))
    try:
        for work in (backend.create, lambda: counters(backend).read("a")):
            with pytest.raises(UnknownVersion, match="upgrade sdpatterns"):
                await work()
        both = await asyncio.gather(*(counters(backend).read(key) for key in "ab"), return_exceptions=True)
        assert {type(end) for end in both} == {UnknownVersion}
        assert both[0] is not both[1], "one exception object was raised by several callers"
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE sdp_schema SET version = {SCHEMA_VERSION}"))
    assert await counters(backend).transact("none", Look()) is None


def test_a_damaged_file(sqlite_path: Path) -> None:
    sqlite_path.write_bytes(b"this is no database" * 1000)
    with SQLBackend(f"sqlite:///{sqlite_path}") as backend:
        with pytest.raises(BackendUnavailable, match="damaged") as caught:
            finish(backend.create())
        assert str(sqlite_path) in str(caught.value)
        with pytest.raises(BackendUnavailable, match="damaged"):
            finish(counters(backend).read("a"))


async def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    async with SQLBackend(f"sqlite+aiosqlite:///{tmp_path}/none/cells.db") as backend:
        with pytest.raises(BackendUnavailable, match="make its directory"):
            await backend.create()
        (tmp_path / "none").mkdir()
        await backend.create()


async def test_a_file_that_another_program_has_locked(sqlite_path: Path) -> None:
    async with SQLBackend(f"sqlite+aiosqlite:///{sqlite_path}", timeout_s=0.2) as backend:
        await backend.create()
        cells = counters(backend)
        await cells.transact("a", Add())
        other = sqlite3.connect(sqlite_path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert await cells.read("a") == (1,)  # readers need no lock
        for _ in range(2):
            # One that keeps the lock for as long as we wait is no contention.
            with pytest.raises(BackendUnavailable, match="another program holds"):
                await cells.transact("a", Add())
            assert await cells.read("a") == (1,)
        other.execute("ROLLBACK")
        other.close()
        assert (await cells.transact("a", Add()))[0] == 1


async def test_a_file_whose_writers_take_turns_is_waited_for(sqlite_path: Path) -> None:
    async with SQLBackend(f"sqlite+aiosqlite:///{sqlite_path}", timeout_s=1.0) as backend:
        await backend.create()
        cells = counters(backend)
        await cells.transact("a", Add())
        one, two = (sqlite3.connect(sqlite_path, isolation_level=None) for _ in range(2))
        one.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(cells.transact("a", Add()))
        for holder, follower in ((one, two), (two, one), (one, two), (two, one)):
            await asyncio.sleep(0.4)  # less than `timeout_s`; all of it together is more
            holder.execute("UPDATE sdp_schema SET notified = notified + 1")
            holder.execute("COMMIT")
            follower.execute("BEGIN IMMEDIATE")
            assert not waiting.done()
        one.close()
        two.close()
        assert (await waiting)[0] == 1


def test_a_writer_waits_for_another_program(sqlite_path: Path) -> None:
    with SQLBackend(f"sqlite:///{sqlite_path}") as backend:
        finish(backend.create())
        other = sqlite3.connect(sqlite_path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        ends = threading.Timer(0.1, lambda: other.execute("ROLLBACK"))
        ends.start()
        assert finish(counters(backend).transact("a", Add()))[0] == 0
        ends.join()
        other.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite+aiosqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="MemoryBackend"):
        SQLBackend(url)


@pytest.mark.parametrize(
    ("url", "blocking"),
    [
        ("mysql://x/y", None),
        ("sqlite+aiosqlite:///x", True),
        ("postgresql+asyncpg://x/y", True),
        ("postgresql+psycopg://x/y", False),
        ("postgresql+pg8000://x/y", None),
    ],
)
def test_a_driver_that_does_not_fit_is_refused_at_once(url: str, blocking: bool | None) -> None:
    with pytest.raises(ValueError, match=r"must be sqlite or postgresql|cannot be used with blocking"):
        SQLBackend(url, blocking=blocking)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 4000.0])
def test_a_time_limit_out_of_range_is_refused(timeout_s: float) -> None:
    with pytest.raises(ValueError, match=r"timeout_s must be a number from 0\.1 to 3600"):
        SQLBackend("sqlite:///x", timeout_s=timeout_s)


def test_without_a_driver_in_the_url_blocking_decides() -> None:
    shown = [SQLBackend.from_url("postgresql://h/d", blocking=blocks).shown for blocks in (None, True, False)]
    assert shown == ["postgresql+psycopg://h/d"] * 2 + ["postgresql+asyncpg://h/d"]
    assert SQLBackend.from_url("sqlite:///f", blocking=False).shown == "sqlite+aiosqlite:///f"


@pytest.mark.parametrize("driver", ["asyncpg", pytest.param("psycopg", marks=pytest.mark.nightly)])
def test_a_database_that_refuses_is_named_as_what_it_is(driver: str) -> None:
    """Read-only, a missing permission, no connection left, a wrong password: each with its fix, none as away."""
    with postgres_process(connections_max=10) as (_, url), psycopg.connect(url, autocommit=True) as admin:
        with SQLBackend(url.replace("postgresql:", "postgresql+psycopg:")) as backend:
            finish(backend.create())
        admin.execute("CREATE ROLE reader LOGIN PASSWORD 'secret'")
        admin.execute("GRANT SELECT ON sdp_cells, sdp_schema TO reader")
        port = url.rsplit(":", 1)[1]
        _refuses(driver, f"postgresql://reader:secret@127.0.0.1:{port}", "grant the URL's user SELECT, INSERT")
        _refuses(driver, f"postgresql://reader:wrong@127.0.0.1:{port}", "correct the user and the password")
        _refuses(driver, f"postgresql://reader:secret@127.0.0.1:{port.split('/')[0]}/none", "correct its name")
        admin.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        _refuses(driver, url, "name the primary")
        admin.execute("ALTER DATABASE postgres SET default_transaction_read_only = off")
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(psycopg.connect(url))
            _refuses(driver, url, "raise max_connections")


def _refuses(driver: str, url: str, fix: str) -> None:
    async def play() -> None:
        async with SQLBackend(url.replace("postgresql:", f"postgresql+{driver}:")) as backend:
            with pytest.raises(BackendUnavailable, match="refuses") as caught:
                await counters(backend).transact("a", Add())
            assert fix in str(caught.value)

    if driver == "asyncpg":
        asyncio.run(play())
    else:
        finish(play())
