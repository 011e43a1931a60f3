"""Hazard 10: a large request is not starved by small ones, and no waiter polls."""

from __future__ import annotations

import asyncio

import pytest

from sdpatterns import RateLimiter, per_second
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.runtime import ASYNCIO
from tests.loops import virtual_asyncio
from tests.traffic.ratelimit.stores import Between

pytestmark = pytest.mark.anyio
anyio_backend = virtual_asyncio


async def test_a_request_for_ten_comes_before_the_ones_that_asked_later() -> None:
    limiter = RateLimiter("api", per_second(10))
    served: list[str] = []
    await limiter.wait("x", 10)

    async def ask(name: str, cost: int) -> None:
        await limiter.wait("x", cost)
        served.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask("ten", 10))
        for number in range(30):
            group.create_task(ask(f"one {number}", 1))
    assert served == ["ten", *(f"one {number}" for number in range(30))]


async def test_those_who_do_not_wait_cannot_overtake_those_who_do() -> None:
    limiter = RateLimiter("api", per_second(10))
    await limiter.wait("x", 10)
    large = asyncio.ensure_future(limiter.wait("x", 10))
    greedy = 0
    for _ in range(99):
        await asyncio.sleep(0.01)
        greedy += (await limiter.acquire("x")).allowed
    assert greedy == 0
    await asyncio.sleep(0.02)
    assert large.done()


@pytest.mark.parametrize("where", ["own", "store"])
async def test_fifteen_admissions_are_fifteen_steps_and_fourteen_sleeps(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Between(MemoryBackend().states)
    limiter = RateLimiter("api", per_second(10, burst=1), store=store if where == "store" else None)
    sleeps: list[float] = []
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        if seconds:
            sleeps.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(ASYNCIO, "sleep", counted)
    await asyncio.gather(*(limiter.wait("x") for _ in range(15)))
    assert len(sleeps) == 14
    assert store.steps == (["Reserve"] * 15 if where == "store" else [])
