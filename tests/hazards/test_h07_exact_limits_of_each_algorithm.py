"""Hazard 7, for every algorithm: never more than the limit in its own terms, and to the microsecond."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sdpatterns import Rate, RateLimiter, per_second
from sdpatterns.testing.clock import VirtualClock
from tests.backends.everywhere import each_backend, unique
from tests.threads import in_threads
from tests.traffic.ratelimit.algorithms import ALGORITHMS, AT_ONCE

pytestmark = pytest.mark.anyio
backend = each_backend

# Long enough that no edge of a window comes by while a test runs.
YEAR_S = 366 * 86_400.0


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_a_limit_of_100_admits_100_and_not_200(backend: Any, name: str) -> None:
    limiter = RateLimiter(unique("api"), Rate(100, YEAR_S), algorithm=ALGORITHMS[name], store=backend.states)
    waves = []
    for _ in range(3):
        decisions = await asyncio.gather(*(limiter.acquire("x") for _ in range(60)))
        waves.append(sum(decision.allowed for decision in decisions))
    assert waves == ([60, 40, 0] if name in AT_ONCE else [1, 0, 0])


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_a_refused_one_passes_when_it_was_told_to(backend: Any, name: str) -> None:
    limiter = RateLimiter(unique("api"), Rate(4, YEAR_S), algorithm=ALGORITHMS[name], store=backend.states)
    while (await limiter.acquire("x")).allowed:
        pass
    refused = await limiter.acquire("x")
    assert 60 < refused.retry_after_s <= YEAR_S
    assert refused.remaining == 0
    backend.shift(refused.retry_after_s - 30.0)
    assert not (await limiter.acquire("x")).allowed
    backend.shift(30.0)
    assert (await limiter.acquire("x")).allowed
    backend.shift(2 * YEAR_S)
    fresh = await limiter.peek("x")
    assert (fresh.allowed, fresh.remaining, fresh.reset_after_s) == (True, fresh.limit, 0.0)


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_scopes_are_taken_together_or_not_at_all(backend: Any, name: str) -> None:
    rates = {"user": Rate(3, YEAR_S), "ip": [Rate(5, YEAR_S), Rate(50, YEAR_S)]}
    limiter = RateLimiter(unique("api"), rates, algorithm=ALGORITHMS[name], store=backend.states, group="limits")
    keys = [{"user": f"u{number % 3}", "ip": "one"} for number in range(30)]
    decisions = await asyncio.gather(*(limiter.acquire(key) for key in keys))
    assert sum(decision.allowed for decision in decisions) == (5 if name in AT_ONCE else 1)
    assert (await limiter.peek({"user": "new", "ip": "two"})).allowed
    assert not (await limiter.acquire({"user": "new", "ip": "one"})).allowed
    assert (await limiter.peek({"user": "new", "ip": "two"})).remaining == (3 if name in AT_ONCE else 1)
    await limiter.reset(keys[0])
    assert (await limiter.acquire(keys[0])).allowed


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_without_one_step_for_all_scopes_a_refused_request_gives_back(backend: Any, name: str) -> None:
    rates = {"user": Rate(3, YEAR_S), "ip": Rate(3, YEAR_S)}
    limiter = RateLimiter(unique("api"), rates, algorithm=ALGORITHMS[name], store=backend.states, atomic=False)
    while (await limiter.acquire({"user": "a", "ip": "1"})).allowed:
        pass
    assert not (await limiter.acquire({"user": "b", "ip": "1"})).allowed
    assert (await limiter.peek({"user": "b", "ip": "2"})).reset_after_s == 0.0


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("count", [1000, 7])
async def test_not_a_microsecond_sooner_or_later(name: str, count: int) -> None:
    with VirtualClock() as clock:
        limiter = RateLimiter("api", per_second(count), algorithm=ALGORITHMS[name])
        for _ in range(50):
            while (refused := await limiter.acquire("x")).allowed:
                pass
            wait_us = round(refused.retry_after_s * 1e6)
            clock.advance((wait_us - 1) / 1e6)
            assert not (await limiter.acquire("x")).allowed
            clock.advance(0.000_001)
            assert (await limiter.acquire("x")).allowed


@pytest.mark.parametrize("name", ALGORITHMS)
def test_eight_threads_pass_exactly_the_limit(name: str) -> None:
    limiter = RateLimiter("api", Rate(1000, YEAR_S), algorithm=ALGORITHMS[name])
    passed = in_threads(lambda: sum(limiter.acquire_now("x").allowed for _ in range(250)))
    assert sum(passed) == (1000 if name in AT_ONCE else 1)
