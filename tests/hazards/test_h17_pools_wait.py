"""Hazard 17: a pool of a hundred connections fails most of two hundred callers. Here they wait."""

from __future__ import annotations

import asyncio
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.ports.states import Space


class CountSlowly:
    """One more; each caller's own cell, so that no two share a trip."""

    repeats = "unsafe"
    script = None

    def __call__(self, states: Any, now_us: int, /) -> Any:
        count = (states[0] or (0,))[0] + 1
        return [(count,)], count, [60.0], ()


def connections_of(url: str, name: str) -> int:
    with redis.Redis.from_url(url) as admin:
        return sum(client["name"] == name for client in admin.client_list())


def test_two_hundred_threads_wait_for_four_connections(valkey_url: str) -> None:
    name = secrets.token_hex(4)
    backend = RedisBackend.from_url(
        f"{valkey_url}?client_name={name}", blocking=True, connections_max=4, timeout_s=60.0
    )
    cells = backend.states.cells(Space(f"h17/{name}", IntegersCodec()))
    together = threading.Barrier(200)
    most: list[int] = []

    def caller(place: int) -> list[int]:
        together.wait()
        counts = [finish(cells.transact(f"{place}", CountSlowly())) for _ in range(3)]
        if place % 20 == 0:
            most.append(connections_of(valkey_url, name))
        return counts

    with backend, ThreadPoolExecutor(200) as pool:
        assert list(pool.map(caller, range(200))) == [[1, 2, 3]] * 200
    assert 1 <= max(most) <= 4


def test_two_thousand_tasks_share_one_connection(valkey_url: str) -> None:
    name = secrets.token_hex(4)
    # A loop that starts two thousand tasks on a busy machine looks at a new connection late.
    backend = RedisBackend.from_url(f"{valkey_url}?client_name={name}", timeout_s=60.0)
    cells = backend.states.cells(Space(f"h17/{name}", IntegersCodec()))

    async def play() -> None:
        async with backend:
            steps = [cells.transact(f"{place}", CountSlowly()) for place in range(2000)]
            assert await asyncio.gather(*steps) == [1] * 2000
            assert await asyncio.to_thread(connections_of, valkey_url, name) == 1

    asyncio.run(play())
