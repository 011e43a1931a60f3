"""Hazard 8: spraying keys never makes a limited key forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpatterns import RateLimiter, per_hour, per_second
from sdpatterns.testing.clock import VirtualClock
from tests.backends.everywhere import KINDS, opened, unique

# Other tests go through the same lines; counting them for so many keys takes most of the time.
pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", KINDS)
async def test_1100_other_keys_do_not_free_a_limited_one(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with opened(request, kind, tmp_path) as backend:
        limiter = RateLimiter(unique("api"), per_hour(1), store=backend.states)
        assert (await limiter.acquire("limited")).allowed
        for number in range(1100):
            await limiter.acquire(f"spray {number}")
        assert not (await limiter.acquire("limited")).allowed


@pytest.mark.parametrize("clock", ["process", "virtual"])
async def test_more_keys_than_fit_do_not_free_a_limited_one(clock: str, request: pytest.FixtureRequest) -> None:
    if clock == "virtual":
        virtual = VirtualClock()
        virtual.install()
        request.addfinalizer(virtual.uninstall)
    limiter = RateLimiter("api", per_hour(1), keys_max=5_000)
    assert (await limiter.acquire("limited")).allowed
    for number in range(50_000):
        await limiter.acquire(f"spray {number}")
    assert not (await limiter.acquire("limited")).allowed


async def test_a_key_is_dropped_when_it_equals_a_fresh_one_and_no_sooner() -> None:
    with VirtualClock() as clock:
        limiter = RateLimiter("api", per_second(10, burst=10))
        for turn in range(30):
            assert (await limiter.acquire("limited", cost=10)).allowed
            for number in range(200):
                await limiter.acquire(f"spray {turn} {number}")
            clock.advance(0.999_999)
            for number in range(2000):
                await limiter.acquire(f"again {turn} {number}")
            assert not (await limiter.acquire("limited", cost=10)).allowed
            clock.advance(0.000_001)
        cells = limiter._cells.cells
        assert len(cells) < 10_000  # type: ignore[arg-type]
