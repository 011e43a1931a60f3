"""Hazard 8, for every algorithm: spraying keys never makes a limited key forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpatterns import Rate, RateLimiter, per_second
from sdpatterns.testing.clock import VirtualClock
from tests.backends.everywhere import KINDS, opened, unique
from tests.traffic.ratelimit.algorithms import ALGORITHMS

# Other tests go through the same lines; counting them for so many keys takes most of the time.
pytestmark = pytest.mark.anyio

YEAR_S = 366 * 86_400.0


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("kind", KINDS)
async def test_300_other_keys_do_not_free_a_limited_one(
    kind: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with opened(request, kind, tmp_path) as backend:
        limiter = RateLimiter(unique("api"), Rate(1, YEAR_S), algorithm=ALGORITHMS[name], store=backend.states)
        assert (await limiter.acquire("limited")).allowed
        for number in range(300):
            await limiter.acquire(f"spray {number}")
        assert not (await limiter.acquire("limited")).allowed


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_more_keys_than_fit_do_not_free_a_limited_one(name: str) -> None:
    limiter = RateLimiter("api", Rate(1, YEAR_S), algorithm=ALGORITHMS[name], keys_max=1_000)
    assert (await limiter.acquire("limited")).allowed
    for number in range(10_000):
        await limiter.acquire(f"spray {number}")
    assert not (await limiter.acquire("limited")).allowed


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_a_key_is_dropped_when_it_equals_a_fresh_one_and_no_sooner(name: str) -> None:
    with VirtualClock() as clock:
        limiter = RateLimiter("api", per_second(1), algorithm=ALGORITHMS[name])
        for turn in range(5):
            assert (await limiter.acquire("limited")).allowed
            retry_us = round((await limiter.peek("limited")).retry_after_s * 1e6)
            clock.advance((retry_us - 1) / 1e6)
            for number in range(2_000):
                await limiter.acquire(f"spray {turn} {number}")
            assert not (await limiter.acquire("limited")).allowed
            clock.advance(0.000_001)
        assert len(limiter._cells.cells) < 10_000  # type: ignore[arg-type]
