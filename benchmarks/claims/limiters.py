"""What rate limiters let through, and to whom."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from unittest import mock

import limits
import pyrate_limiter
import throttled
from aiolimiter import AsyncLimiter

from sdpatterns import Rate, RateLimiter, per_second

Ask = Callable[[str], bool]


def sdpatterns_sync(count: int, period_s: float) -> Ask:
    limiter = RateLimiter("claims", Rate(count, period_s))
    return lambda key: limiter.acquire_now(key).allowed


def limits_sync(kind: str) -> Callable[[int, float], Ask]:
    def make(count: int, period_s: float) -> Ask:
        strategy = getattr(limits.strategies, kind)(limits.storage.MemoryStorage())
        item = limits.RateLimitItemPerSecond(count, int(period_s))
        return lambda key: bool(strategy.hit(item, key))

    return make


def throttled_sync(count: int, period_s: float) -> Ask:
    quota = throttled.per_duration(timedelta(seconds=period_s), count, burst=count)
    limiter = throttled.Throttled(using="gcra", quota=quota, store=throttled.MemoryStore())
    return lambda key: not limiter.limit(key).limited


def pyrate_sync(count: int, period_s: float) -> Ask:
    limiter = pyrate_limiter.Limiter(pyrate_limiter.Rate(count, int(period_s * 1000)))
    return lambda key: bool(limiter.try_acquire(key, blocking=False))


SYNC: dict[str, Callable[[int, float], Ask]] = {
    "sdpatterns": sdpatterns_sync,
    "limits, fixed window": limits_sync("FixedWindowRateLimiter"),
    "limits, moving window": limits_sync("MovingWindowRateLimiter"),
    "throttled-py, GCRA": throttled_sync,
    "pyrate-limiter": pyrate_sync,
}


def by_eight_threads(make: Callable[[int, float], Ask]) -> str:
    ask = make(1_000, 600.0)
    passed: list[int] = []

    def run() -> None:
        passed.append(sum(ask("one key") for _ in range(250)))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return f"{sum(passed):,}"


def forgotten(make: Callable[[int, float], Ask]) -> str:
    ask = make(1, 600.0)
    assert ask("greedy")
    for number in range(2_000):
        ask(f"passer-by {number}")
    return "let in again" if ask("greedy") else "still refused"


def second_key(make: Callable[[int, float], Ask]) -> str:
    ask = make(1, 600.0)
    assert ask("ann")
    return "has its own" if ask("bob") else "shares the first one's"


def clock_set_back(make: Callable[[int, float], Ask]) -> str:
    real = time.time
    shift_s = 0.0
    with mock.patch("time.time", side_effect=lambda: real() + shift_s):
        ask = make(1, 1.0)
        assert ask("ann")
        shift_s = -3_600.0
        time.sleep(1.1)
        return "free after its second" if ask("ann") else "still refused"


Wait = Callable[[int], Awaitable[Any]]


async def big_among_small(make: Callable[[], Wait]) -> str:
    """How many small requests that came later a big one has to let pass, of 60 at 200 a second."""
    wait = make()
    for _ in range(20):
        await wait(1)
    passed = 0
    ahead: list[int] = []

    async def big() -> None:
        await wait(10)
        ahead.append(passed)

    async def small() -> None:
        nonlocal passed
        await wait(1)
        passed += 1

    tasks = [asyncio.ensure_future(big())]
    for _ in range(60):
        await asyncio.sleep(0.002)
        tasks.append(asyncio.ensure_future(small()))
    await asyncio.gather(*tasks)
    return f"{ahead[0]} of 60"


def sdpatterns_waiting() -> Wait:
    limiter = RateLimiter("claims", per_second(200, burst=20))
    return lambda cost: limiter.wait("one", cost=cost)


def aiolimiter_waiting() -> Wait:
    return AsyncLimiter(20, 0.1).acquire


WAITING: dict[str, Callable[[], Wait]] = {"sdpatterns": sdpatterns_waiting, "aiolimiter": aiolimiter_waiting}
