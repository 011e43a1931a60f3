"""Hazard 6: a stepped wall clock, or another time zone, moves no limit."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sdpatterns import RateLimiter, per_hour
from tests.backends.everywhere import each_store, unique

pytestmark = pytest.mark.anyio
store = each_store


@pytest.mark.parametrize("step_s", [-86_400.0, -1.0, 3600.0, 86_400.0 * 365])
async def test_a_stepped_wall_clock_neither_frees_nor_blocks_a_key(
    store: Any, step_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = RateLimiter(unique("api"), per_hour(2), store=store)
    assert (await limiter.acquire("used")).remaining == 1
    wall, wall_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: wall() + step_s)
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + int(step_s * 1e9))
    assert [(await limiter.acquire("used")).allowed for _ in range(2)] == [True, False]
    refused = await limiter.peek("used")
    assert 1700 < refused.retry_after_s <= 1800
    assert [(await limiter.acquire("new")).allowed for _ in range(3)] == [True, True, False]


async def test_another_time_zone_changes_nothing(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = RateLimiter(unique("api"), per_hour(1), store=store)
    assert (await limiter.acquire("x")).allowed
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert 3500 < (await limiter.peek("x")).retry_after_s <= 3600
