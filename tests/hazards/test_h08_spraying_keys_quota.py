"""Hazard 8, for quotas: spraying keys never makes a key that has used its quota forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpatterns import Quota, daily, monthly, yearly
from sdpatterns.testing.clock import VirtualClock
from tests.backends.everywhere import KINDS, opened, unique

# Other tests go through the same lines; counting them for so many keys takes most of the time.
pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", KINDS)
async def test_300_other_keys_do_not_free_a_limited_one(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with opened(request, kind, tmp_path) as backend:
        quota = Quota(unique("api"), [yearly(1), monthly(5)], store=backend.states)
        assert (await quota.acquire("limited")).allowed
        for number in range(300):
            await quota.acquire(f"spray {number}")
        assert not (await quota.acquire("limited")).allowed


async def test_more_keys_than_fit_do_not_free_a_limited_one() -> None:
    quota = Quota("api", yearly(1), keys_max=1_000)
    assert (await quota.acquire("limited")).allowed
    for number in range(10_000):
        await quota.acquire(f"spray {number}")
    assert not (await quota.acquire("limited")).allowed


async def test_a_key_is_dropped_when_its_last_period_ends_and_no_sooner() -> None:
    with VirtualClock() as clock:
        quota = Quota("api", daily(1))
        for turn in range(10):
            assert (await quota.acquire("limited")).allowed
            clock.advance((round((await quota.peek("limited")).retry_after_s * 1e6) - 1) / 1e6)
            for number in range(2_000):
                await quota.acquire(f"spray {turn} {number}")
            assert not (await quota.acquire("limited")).allowed
            clock.advance(0.000_001)
        assert len(quota._cells) < 10_000  # type: ignore[arg-type]


async def test_a_day_that_ends_leaves_the_month_as_it_was() -> None:
    with VirtualClock() as clock:
        quota = Quota("api", [daily(5), monthly(6)], keys_max=5_000)
        assert (await quota.acquire("limited", cost=5)).allowed
        for day in range(10):
            clock.advance(86_400.0)
            for number in range(500):
                await quota.acquire(f"spray {day} {number}")
        assert (await quota.peek("limited")).remaining == 1
