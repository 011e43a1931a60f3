"""Hazard 6, for quotas: a stepped wall clock or another time zone of the process ends no period."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sdpatterns import Quota, monthly, yearly
from tests.backends.everywhere import each_store, unique

pytestmark = pytest.mark.anyio
store = each_store


async def test_a_stepped_wall_clock_neither_frees_nor_blocks_a_key(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = Quota(unique("api"), [yearly(2), monthly(2)], zone="Europe/Berlin", store=store)
    assert (await quota.acquire("used")).remaining == 1
    before = await quota.peek("used")
    wall, wall_ns = time.time, time.time_ns
    for step_s in (-86_400.0 * 40, 86_400.0 * 800):
        monkeypatch.setattr(time, "time", lambda step_s=step_s: wall() + step_s)
        monkeypatch.setattr(time, "time_ns", lambda step_s=step_s: wall_ns() + int(step_s * 1e9))
        monkeypatch.setenv("TZ", "Pacific/Apia")
        after = await quota.peek("used")
        assert after.remaining == 1
        assert after.reset_after_s == pytest.approx(before.reset_after_s, abs=60.0)
        another = Quota(quota.name, [yearly(2), monthly(2)], zone="Europe/Berlin", store=store)
        assert (await another.acquire(f"new {step_s}")).reset_after_s == pytest.approx(before.reset_after_s, abs=60.0)
        assert sum([(await quota.acquire(f"other {step_s}")).allowed for _ in range(4)]) == 2


async def test_a_process_whose_clock_is_years_off_counts_in_the_stores_month(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdpatterns.traffic.quota import guard

    class Off:
        @staticmethod
        def now_us() -> int:
            return 1_000_000_000_000_000

    right = Quota(unique("api"), monthly(2), store=store)
    assert (await right.acquire("x")).allowed
    monkeypatch.setattr(guard, "SYSTEM", Off)
    off = Quota(right.name, monthly(2), store=store)
    decision = await off.acquire("x")
    if store is not None:
        assert decision.remaining == 0
        assert not (await right.acquire("x")).allowed
    assert decision.reset_after_s == pytest.approx((await right.peek("x")).reset_after_s, abs=60.0)
