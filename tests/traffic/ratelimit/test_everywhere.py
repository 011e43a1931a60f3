"""One limiter, every store: the same answers, exact under concurrency, one step for all scopes."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from sdpatterns import Rate, RateLimiter, per_hour, per_minute
from tests.backends.everywhere import each_backend, opened, unique

pytestmark = pytest.mark.anyio
backend = each_backend


async def test_what_was_used_comes_back_with_the_stores_time(backend: Any) -> None:
    limiter = RateLimiter(unique("api"), per_hour(60, burst=3), store=backend.states)
    assert [(await limiter.acquire("é/{x}%")).remaining for _ in range(3)] == [2, 1, 0]
    refused = await limiter.acquire("é/{x}%")
    assert not refused.allowed
    assert 50 < refused.retry_after_s <= 60
    backend.shift(refused.retry_after_s)
    assert [(await limiter.acquire("é/{x}%")).allowed for _ in range(2)] == [True, False]
    backend.shift(3600.0)
    assert (await limiter.peek("é/{x}%")).remaining == 3


async def test_a_hundred_at_once_pass_exactly_the_limit(backend: Any) -> None:
    limiter = RateLimiter(unique("api"), per_hour(30), store=backend.states)
    decisions = await asyncio.gather(*(limiter.acquire("x") for _ in range(100)))
    assert sum(decision.allowed for decision in decisions) == 30


async def test_scopes_at_once_pass_exactly_the_limit_of_each(backend: Any) -> None:
    rates = {"user": per_hour(7), "ip": [per_hour(11), per_minute(100)]}
    limiter = RateLimiter(unique("api"), rates, store=backend.states, group="limits")
    keys = [{"user": f"u{number % 3}", "ip": f"i{number % 2}"} for number in range(60)]
    decisions = await asyncio.gather(*(limiter.acquire(key) for key in keys))
    passed = [key for key, decision in zip(keys, decisions, strict=True) if decision.allowed]
    for user in {key["user"] for key in keys}:
        assert sum(key["user"] == user for key in passed) <= 7
    for ip in {key["ip"] for key in keys}:
        assert sum(key["ip"] == ip for key in passed) <= 11
    assert len(passed) >= 19
    for key in keys:
        assert not (await limiter.acquire(key)).allowed


async def test_a_caller_cancelled_at_any_moment_of_its_booking_leaves_no_slot_booked(backend: Any) -> None:
    limiter = RateLimiter(unique("api"), per_hour(60, burst=1), store=backend.states)
    await limiter.acquire("x")
    for turns in range(40):
        booking = asyncio.create_task(limiter.wait("x", max_wait_s=3600.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        booking.cancel()
        await asyncio.wait([booking])
        assert booking.cancelled()
        # The store's own time goes on meanwhile, so that the first slot only comes nearer.
        assert (await limiter.peek("x")).retry_after_s <= 60.0, f"cancelled after {turns} turns of the loop"


async def test_a_booking_waits_for_its_slot_and_gives_it_back_when_cancelled(backend: Any) -> None:
    limiter = RateLimiter(unique("api"), Rate(20, 1.0, burst=1), store=backend.states)
    started_s = time.monotonic()
    await limiter.wait("x")
    await limiter.wait("x")
    assert time.monotonic() - started_s >= 0.049
    slow = RateLimiter(unique("api"), per_hour(60, burst=1), store=backend.states)
    await slow.wait("x")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await slow.wait("x", max_wait_s=100)
    assert (await slow.peek("x")).retry_after_s <= 60


async def test_any_history_is_answered_as_in_this_process(backend: Any) -> None:
    chance = random.Random(3)
    rates = [Rate(60, 3600.0, burst=5), Rate(90, 3600.0, burst=8)]
    far, near = RateLimiter(unique("api"), rates, store=backend.states), RateLimiter("api", rates)
    for _ in range(40):
        cost = chance.randint(1, 3)
        one, other = await far.acquire("x", cost), await near.acquire("x", cost)
        assert (one.allowed, one.limit) == (other.allowed, other.limit)
        assert one.retry_after_s == pytest.approx(other.retry_after_s, abs=2.0)


async def test_reset_forgets_and_what_is_fresh_again_is_dropped(backend: Any) -> None:
    limiter = RateLimiter(unique("api"), {"user": per_hour(1), "ip": per_hour(1)}, store=backend.states, group="limits")
    key = {"user": "a", "ip": "1"}
    await limiter.acquire(key)
    await limiter.reset(key)
    assert (await limiter.acquire(key)).allowed


async def test_on_a_cluster_scopes_go_one_by_one_without_a_group(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with opened(request, "cluster", tmp_path) as backend:
        rates = {"user": per_hour(5), "ip": per_hour(3)}
        with pytest.raises(TypeError, match="group"):
            await RateLimiter("api", rates, store=backend.states).acquire({"user": "a", "ip": "1"})
        limiter = RateLimiter("api", rates, store=backend.states, atomic=False)
        decisions = await asyncio.gather(*(limiter.acquire({"user": "a", "ip": str(n % 2)}) for n in range(40)))
        assert sum(decision.allowed for decision in decisions) <= 5
