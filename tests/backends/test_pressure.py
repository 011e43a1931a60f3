"""How busy a backend says that its connections are: on real servers, at work, idle and away."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from sdpatterns import RateLimiter, per_second
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.context import with_deadline
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable
from sdpatterns.observability.resources import Reading, of_backend
from sdpatterns.ports.pressure import Pressure, sum_of
from tests.backends.everywhere import KINDS, opened, opened_blocking, unique

REMOTE = [kind for kind in KINDS if kind != "memory"]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", REMOTE)
async def test_steps_under_way_are_seen_and_gone_when_they_are_done(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    async with opened(request, kind, tmp_path) as backend:
        limiter = RateLimiter(unique("api"), per_second(100), store=backend.states)
        await limiter.acquire("x")
        idle = backend.pressure()
        assert (idle.used, idle.waiting, idle.errors) == (0, 0, 0)
        assert idle.capacity >= 1
        seen: list[Pressure] = []

        async def ask(number: int) -> None:
            assert (await limiter.acquire("x")).allowed
            if number % 10 == 0:
                seen.append(backend.pressure())

        calls = [asyncio.create_task(ask(number)) for number in range(60)]
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(backend.pressure())
        await asyncio.gather(*calls)
        assert max(pressure.waiting for pressure in seen) > 0
        if kind != "sqlite":  # whose work is in a thread, at the very moment perhaps not
            assert max(pressure.used for pressure in seen) > 0
        assert all(pressure.used <= pressure.capacity for pressure in seen)
        await asyncio.sleep(0.01)
        assert backend.pressure() == idle


@pytest.mark.anyio
async def test_a_file_that_is_locked_by_another_is_in_use(tmp_path: Path) -> None:
    async with SQLBackend.from_url(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}") as backend:
        await backend.create()
        limiter = RateLimiter("api", per_second(100), store=backend.states)
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            calls = [asyncio.create_task(limiter.acquire("x"))]
            await asyncio.sleep(0.05)
            calls += [asyncio.create_task(limiter.acquire("x")) for _ in range(2)]
            await asyncio.sleep(0.01)
            assert backend.pressure() == Pressure(1, 1, 2, 0)
            other.execute("COMMIT")
        await asyncio.gather(*calls)
        assert backend.pressure() == Pressure(0, 1, 0, 0)


def test_a_thread_that_waits_for_a_connection_is_seen(valkey_url: str) -> None:
    backend = RedisBackend.from_url(valkey_url, blocking=True, connections_max=1)
    reading = of_backend("orders", backend)
    assert reading() == Reading("backend", "orders", 0, 0, 0, 0)
    pool, empty = backend._resources.here().seed, unique("list")
    assert reading() == Reading("backend", "orders", 0, 1, 0, 0)
    command = pack("BLPOP", empty, "0")
    threads = [threading.Thread(target=lambda: finish(pool.call(command, b""))) for _ in range(3)]
    for thread in threads:
        thread.start()
    _until(lambda: reading() == Reading("backend", "orders", 1, 1, 2, 0))
    other = RedisBackend.from_url(valkey_url, blocking=True)
    with backend, other:
        finish(other._resources.here().seed.call(pack("RPUSH", empty, "a", "b", "c"), b""))
        for thread in threads:
            thread.join(60)
    assert other.pressure() == Pressure(0, 0, 0, 0), "closed"


def test_a_thread_whose_deadline_comes_while_it_waits_for_a_connection_leaves_the_queue(valkey_url: str) -> None:
    backend = RedisBackend.from_url(valkey_url, blocking=True, connections_max=1)
    other = RedisBackend.from_url(valkey_url, blocking=True)
    pool, empty = backend._resources.here().seed, unique("list")
    ends: list[object] = []

    def hurries() -> None:
        try:
            with with_deadline(0.01):
                ends.append(finish(pool.call(pack("PING"), b"")))
        except BackendUnavailable as late:
            ends.append(str(late))

    with backend, other:
        first = threading.Thread(target=lambda: finish(pool.call(pack("BLPOP", empty, "0"), b"")))
        first.start()
        _until(lambda: backend.pressure().used == 1)
        second = threading.Thread(target=hurries)
        second.start()
        second.join(30)
        try:
            assert ends == ["the deadline passed while the call waited for a connection; nothing was sent"]
        finally:
            finish(other._resources.here().seed.call(pack("RPUSH", empty, "a"), b""))
            first.join(30)
    assert backend.pressure().waiting == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "valkey"])
def test_threads_leave_nothing_behind(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    with opened_blocking(request, kind, tmp_path) as backend:
        limiter = RateLimiter(unique("api"), per_second(1_000), store=backend.states)
        threads = [threading.Thread(target=lambda: [finish(limiter.acquire("x")) for _ in range(10)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        pressure = backend.pressure()
        assert (pressure.used, pressure.waiting, pressure.errors) == (0, 0, 0)
        assert pressure.capacity == {"sqlite": 1, "postgres": 20, "valkey": 16}[kind]


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "postgresql+asyncpg://u:p@127.0.0.1:1/x"])
async def test_a_server_that_is_away_is_an_error_each_time(url: str) -> None:
    backend: Any = RedisBackend.from_url(url) if url.startswith("redis") else SQLBackend.from_url(url)
    async with backend:
        limiter = RateLimiter("api", per_second(10), store=backend.states, on_outage="raise")
        for number in (1, 2):
            with pytest.raises(BackendUnavailable):
                await limiter.acquire("x")
            assert backend.pressure().errors >= number


def test_pressures_add_up() -> None:
    assert sum_of([]) == (0, 0, 0, 0)
    assert sum_of([Pressure(1, 2, 3, 4), Pressure(10, 20, 30, 40)], waiting=5) == Pressure(11, 22, 38, 44)


def _until(holds: Any) -> None:
    for _ in range(500):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came to that")
