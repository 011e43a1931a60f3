"""A server that is frozen: nobody waits for it much longer than `timeout_s`, whichever way they came."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdpatterns import RateLimiter, per_second
from sdpatterns.backends.etcd import EtcdBackend
from sdpatterns.backends.nats import NatsBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendError
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Add
from sdpatterns.testing.etcd import etcd_process
from sdpatterns.testing.nats import nats_process
from sdpatterns.testing.postgres import postgres_process
from sdpatterns.testing.processes import ServerProcess
from sdpatterns.testing.valkey import valkey_process

TIMEOUT_S = 1.0
CALLERS = 40


def _callers_of(backend: Any) -> list[Callable[[], Any]]:
    cells = backend.states.cells(Space("frozen", IntegersCodec()))
    limiter = RateLimiter("frozen", per_second(1), store=backend.states, on_outage="raise")
    steps = [lambda number=number: cells.transact(f"{number % 7}", Add()) for number in range(CALLERS)]
    scripts = [lambda number=number: limiter.acquire(f"{number % 3}") for number in range(CALLERS)]
    return [*steps, *scripts, lambda: cells.read("a"), lambda: backend.signals.notify("a"), lambda: _listen(backend)]


async def _listen(backend: Any) -> None:
    async with backend.signals.subscribe("other"):
        pass


async def _wait() -> None:
    threading.Event().wait(TIMEOUT_S)


async def _timed(call: Callable[[], Any]) -> tuple[float, BaseException | None]:
    began = time.monotonic()
    try:
        await call()
    except BackendError as error:
        return time.monotonic() - began, error
    return time.monotonic() - began, None


def _judge(ends: list[tuple[float, BaseException | None]]) -> None:
    """The last end is that of a plain wait of `TIMEOUT_S` beside the calls: how late this machine is now."""
    *calls, (plain_s, _) = ends
    assert sum(error is not None for _, error in calls) >= 2 * CALLERS
    # Two waits, one after another, would be over it.
    assert max(took for took, _ in calls) < 1.9 * plain_s


def _in_threads(backend: Any) -> list[tuple[float, BaseException | None]]:
    ends: list[tuple[float, BaseException | None]] = []

    def work(call: Callable[[], Any]) -> None:
        ends.append(finish(_timed(call)))

    threads = [threading.Thread(target=work, args=(call,)) for call in _callers_of(backend)]
    for thread in threads:
        thread.start()
    plain = finish(_timed(_wait))
    for thread in threads:
        thread.join()
    return [*ends, plain]


async def _in_tasks(backend: Any) -> list[tuple[float, BaseException | None]]:
    plain = _timed(lambda: asyncio.sleep(TIMEOUT_S))
    return list(await asyncio.gather(*(_timed(call) for call in _callers_of(backend)), plain))


def _play_in_threads(make: Callable[..., Any], server: ServerProcess) -> None:
    with make(blocking=True) as backend:
        finish(backend.create())
        finish(backend.states.cells(Space("frozen", IntegersCodec())).transact("a", Add()))
        server.pause()
        try:
            _judge(_in_threads(backend))
            _judge(_in_threads(backend))
        finally:
            server.resume()


def _play_in_tasks(make: Callable[..., Any], server: ServerProcess) -> None:
    """With connections that are open when the server freezes, and with new ones; closing waits no longer either."""

    async def for_tasks() -> None:
        backend = make(blocking=False)
        await backend.create()
        await backend.states.cells(Space("frozen", IntegersCodec())).transact("a", Add())
        server.pause()
        try:
            _judge(await _in_tasks(backend))
            _judge(await _in_tasks(backend))
            closing, plain = await asyncio.gather(
                _timed(lambda: backend.__aexit__(None, None, None)), _timed(lambda: asyncio.sleep(TIMEOUT_S))
            )
            assert closing[0] < 1.9 * plain[0]
        finally:
            server.resume()

    asyncio.run(for_tasks())


def test_nobody_waits_long_for_a_frozen_postgres() -> None:
    with postgres_process() as (server, url):

        def make(*, blocking: bool) -> SQLBackend:
            driver = "psycopg" if blocking else "asyncpg"
            return SQLBackend(url.replace("postgresql:", f"postgresql+{driver}:"), timeout_s=TIMEOUT_S)

        _play_in_tasks(make, server)
        _play_in_threads(make, server)


def test_nobody_waits_long_for_a_frozen_redis() -> None:
    with valkey_process() as server:

        def make(*, blocking: bool) -> RedisBackend:
            return RedisBackend.from_url(f"redis://127.0.0.1:{server.port}", blocking=blocking, timeout_s=TIMEOUT_S)

        _play_in_tasks(make, server)
        _play_in_threads(make, server)


def test_nobody_waits_long_for_a_frozen_nats() -> None:
    with nats_process() as server:
        _play_in_tasks(lambda **_: NatsBackend(f"nats://127.0.0.1:{server.port}", timeout_s=TIMEOUT_S), server)


def test_nobody_waits_long_for_a_frozen_etcd() -> None:
    with etcd_process() as server:
        _play_in_tasks(lambda **_: EtcdBackend(f"etcd://127.0.0.1:{server.port}", timeout_s=TIMEOUT_S), server)


@pytest.mark.parametrize("blocking", [True, False])
def test_nobody_waits_long_for_a_sqlite_file_that_is_locked(tmp_path: Path, *, blocking: bool) -> None:
    path = tmp_path / "held.db"

    async def play(backend: SQLBackend) -> None:
        await backend.create()
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            _judge(_in_threads(backend) if blocking else await _in_tasks(backend))
        finally:
            holder.close()

    async def in_loop() -> None:
        async with SQLBackend(f"sqlite+aiosqlite:///{path}", timeout_s=TIMEOUT_S) as backend:
            await play(backend)

    if blocking:
        with SQLBackend(f"sqlite:///{path}", timeout_s=TIMEOUT_S) as backend:
            finish(play(backend))
    else:
        asyncio.run(in_loop())
