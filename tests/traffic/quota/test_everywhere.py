"""One quota, every store: the same answers, by the store's own calendar."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sdpatterns import Quota, daily, monthly, yearly
from sdpatterns.blocking import blocking
from tests.backends.everywhere import each_backend, each_blocking_backend, unique

pytestmark = pytest.mark.anyio
backend = each_backend
blocking_backend = each_blocking_backend


async def test_plans_costs_and_settlements(backend: Any) -> None:
    plans = {"basic": [yearly(10), monthly(6)], "pro": yearly(100)}
    quota = Quota(unique("api"), plans, plan=lambda key: key[:-1], zone="Europe/Berlin", store=backend.states)
    first = await quota.acquire("basic1", cost=4)
    assert (first.allowed, first.remaining, first.binding.period) == (True, 2, "month")
    assert not (await quota.acquire("basic1", cost=3)).allowed
    await quota.settle(first, 1)
    assert (await quota.acquire("basic1", cost=3)).remaining == 2
    assert (await quota.acquire("pro1", cost=3)).remaining == 97
    assert (await quota.peek("basic1")).remaining == 2
    await quota.reset("basic1")
    assert (await quota.peek("basic1")).remaining == 6


async def test_a_page_is_turned_when_the_stores_day_ends(backend: Any) -> None:
    # The store may be days ahead of this process: it is its calendar that counts.
    quota = Quota(unique("api"), [daily(2), yearly(1_000)], zone="Asia/Kathmandu", store=backend.states)
    for day in range(4):
        first = await quota.acquire("x", cost=2)
        assert first.allowed
        refused = await quota.acquire("x")
        assert not refused.allowed
        assert 0 < refused.retry_after_s <= 86_400.0
        if day % 2:
            backend.shift(refused.retry_after_s - 30.0)
            assert not (await quota.acquire("x")).allowed
            backend.shift(30.0)
        else:
            backend.shift(86_400.0)
    another = Quota(quota.name, [daily(2), yearly(1_000)], zone="Asia/Kathmandu", store=backend.states)
    assert (await another.peek("x")).remaining == 2


async def test_a_hundred_at_once_pass_exactly_the_quota(backend: Any) -> None:
    quota = Quota(unique("api"), [yearly(30), monthly(1_000)], store=backend.states)
    decisions = await asyncio.gather(*(quota.acquire("x") for _ in range(100)))
    assert sum(decision.allowed for decision in decisions) == 30
    await asyncio.gather(*(quota.refund(decision) for decision in decisions))
    assert (await quota.peek("x")).remaining == 30


def test_eight_threads_without_a_loop(blocking_backend: Any) -> None:
    quota = blocking(Quota(unique("api"), [yearly(30), monthly(1_000)], store=blocking_backend.states))

    def ask(_: int) -> int:
        return sum(quota.acquire("x").allowed for _ in range(8))

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) == 30
