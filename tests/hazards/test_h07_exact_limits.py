"""Hazard 7: a limit of 100 admits 100, and gives back continuously, not in jumps of a second."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sdpatterns import Rate, RateLimiter, per_second
from sdpatterns.core.clock import Clock
from sdpatterns.ports.local import LocalCells
from sdpatterns.testing.clock import VirtualClock
from tests.backends.everywhere import each_backend, unique
from tests.steps import space
from tests.threads import in_threads

pytestmark = pytest.mark.anyio
backend = each_backend


async def test_a_limit_of_100_admits_100_and_not_200(backend: Any) -> None:
    limiter = RateLimiter(unique("api"), Rate(100, 3600.0), store=backend.states)
    waves = []
    for _ in range(4):
        decisions = await asyncio.gather(*(limiter.acquire("x") for _ in range(50)))
        waves.append(sum(decision.allowed for decision in decisions))
    assert waves == [50, 50, 0, 0]


async def test_an_idle_hour_saves_up_one_burst_and_no_more(backend: Any) -> None:
    limiter = RateLimiter(unique("api"), Rate(100, 3600.0, burst=10), store=backend.states)
    await limiter.acquire("x", cost=10)
    backend.shift(10 * 3600.0)
    decisions = await asyncio.gather(*(limiter.acquire("x") for _ in range(50)))
    assert sum(decision.allowed for decision in decisions) == 10


async def test_each_request_comes_back_at_its_own_time(backend: Any) -> None:
    limiter = RateLimiter(unique("api"), Rate(3600, 36_000.0, burst=20), store=backend.states)
    assert (await limiter.acquire("x", cost=20)).allowed
    for _ in range(10):
        refused = await limiter.acquire("x")
        assert 0 < refused.retry_after_s <= 10.0
        backend.shift(refused.retry_after_s)
        assert (await limiter.acquire("x")).allowed


@pytest.mark.parametrize("count", [1000, 100, 3, 7])
async def test_in_a_tenth_of_a_millisecond_the_limit_is_already_right(count: int) -> None:
    with VirtualClock() as clock:
        limiter = RateLimiter("api", per_second(count, burst=5))
        passed = 0
        for tick in range(20_001):
            passed += (await limiter.acquire("x")).allowed
            whole = int(tick * 100 // Rate(count, 1.0).interval_us)
            assert 5 + whole - 1 <= passed <= 5 + whole or tick < 5
            clock.advance(0.0001)


def test_eight_threads_pass_exactly_the_limit_on_the_short_way_of_memory() -> None:
    limiter = RateLimiter("api", Rate(1000, 366 * 86_400.0))
    passed = in_threads(lambda: sum(limiter.acquire_now("x").allowed for _ in range(250)))
    assert sum(passed) == 1000


def test_the_clock_of_memory_keeps_every_microsecond() -> None:
    readings = iter([1_700_000_000_000_001, 1_700_000_000_000_002, 2**51 - 1])
    cells: LocalCells[int] = LocalCells(space("clock"), clock=Clock(now_us=lambda: next(readings)))
    assert [cells.now_us() for _ in range(3)] == [1_700_000_000_000_001, 1_700_000_000_000_002, 2**51 - 1]
