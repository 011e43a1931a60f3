"""Hazard 6, for every algorithm: a stepped wall clock moves no limit, and no window."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sdpatterns import Rate, RateLimiter
from tests.backends.everywhere import each_store, unique
from tests.traffic.ratelimit.algorithms import ALGORITHMS, AT_ONCE

pytestmark = pytest.mark.anyio
store = each_store


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_a_stepped_wall_clock_neither_frees_nor_blocks_a_key(
    store: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = RateLimiter(unique("api"), Rate(2, 366 * 86_400.0), algorithm=ALGORITHMS[name], store=store)
    at_once = 2 if name in AT_ONCE else 1
    assert (await limiter.acquire("used")).remaining == at_once - 1
    before = await limiter.peek("used")
    wall, wall_ns = time.time, time.time_ns
    for step_s in (-86_400.0, 86_400.0 * 800):
        monkeypatch.setattr(time, "time", lambda step_s=step_s: wall() + step_s)
        monkeypatch.setattr(time, "time_ns", lambda step_s=step_s: wall_ns() + int(step_s * 1e9))
        after = await limiter.peek("used")
        assert after.remaining == at_once - 1
        assert after.reset_after_s == pytest.approx(before.reset_after_s, abs=60.0)
        assert sum([(await limiter.acquire(f"new {step_s}")).allowed for _ in range(4)]) == at_once
