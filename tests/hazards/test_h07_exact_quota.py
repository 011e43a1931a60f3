"""Hazard 7, for quotas: never more than the allowance in a period, and to the microsecond."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from sdpatterns import Quota, daily, monthly, yearly
from sdpatterns.testing.clock import VirtualClock
from tests.backends.everywhere import each_backend, unique
from tests.threads import in_threads

pytestmark = pytest.mark.anyio
backend = each_backend


async def test_a_quota_of_100_admits_100_and_not_200(backend: Any) -> None:
    quotas = [Quota(unique("api"), [yearly(100), monthly(150)], store=backend.states)]
    quotas.append(Quota(quotas[0].name, [yearly(100), monthly(150)], store=backend.states))
    waves = []
    for _ in range(3):
        decisions = await asyncio.gather(*(quota.acquire("x") for quota in quotas for _ in range(30)))
        waves.append(sum(decision.allowed for decision in decisions))
    assert waves == [60, 40, 0]


async def test_a_refused_one_passes_when_it_was_told_to(backend: Any) -> None:
    quota = Quota(unique("api"), yearly(4), store=backend.states)
    while (await quota.acquire("x")).allowed:
        pass
    refused = await quota.acquire("x")
    backend.shift(refused.retry_after_s - 30.0)
    assert not (await quota.acquire("x")).allowed
    backend.shift(30.0)
    assert (await quota.acquire("x", cost=4)).allowed


async def test_not_a_microsecond_sooner_or_later() -> None:
    with VirtualClock() as clock:
        quota = Quota("api", [daily(3), monthly(40)], zone="Europe/Berlin")
        for _ in range(60):
            while (refused := await quota.acquire("x")).allowed:
                pass
            clock.advance((round(refused.retry_after_s * 1e6) - 1) / 1e6)
            assert not (await quota.acquire("x")).allowed
            clock.advance(0.000_001)
            assert (await quota.acquire("x")).allowed


def test_eight_threads_pass_exactly_the_quota() -> None:
    quota = Quota("api", [yearly(1000), monthly(5000)])
    passed = in_threads(lambda: sum(quota.acquire_now("x").allowed for _ in range(250)))
    assert sum(passed) == 1000


def test_eight_threads_over_midnight_pass_no_more_than_each_day_lets_pass() -> None:
    with VirtualClock() as clock:
        quota = Quota("api", daily(100))
        clock.advance(6_400.0 - 0.000_001)
        answered = itertools.count(1)

        def ask() -> int:
            passed = 0
            for _ in range(100):
                passed += quota.acquire_now("x").allowed
                if next(answered) == 400:
                    clock.advance(0.000_001)
            return passed

        # Midnight comes when the first day's worth is long gone, and as many ask after it.
        assert sum(in_threads(ask)) == 200
