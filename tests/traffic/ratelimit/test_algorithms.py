"""The limiter with each algorithm: it waits, cancels, reports and refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from benchmarks.limiter_admits import table
from sdpatterns import Rate, RateLimiter, per_second
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core import clock
from sdpatterns.errors import BackendUnavailable, RateLimited
from sdpatterns.traffic.ratelimit import FixedWindow, LeakyBucket, SlidingLog
from tests.backends.everywhere import KINDS, opened, unique
from tests.loops import on_virtual_asyncio
from tests.traffic.ratelimit.algorithms import ALGORITHMS
from tests.traffic.ratelimit.stores import Between

pytestmark = pytest.mark.anyio

every = pytest.mark.parametrize("name", ALGORITHMS)
PAGE = Path(__file__).parents[3] / "docs" / "patterns" / "rate-limiter.md"


@on_virtual_asyncio
class TestWaiting:
    @pytest.fixture(params=["own", "suspending"])
    def store(self, request: pytest.FixtureRequest) -> Any:
        return None if request.param == "own" else Between(MemoryBackend().states)

    @pytest.mark.parametrize(
        ("name", "starts_s"),
        [
            ("gcra", [0, 0, 0.5, 1.0, 1.5]),
            ("fixed_window", [0, 0, 1, 1, 2]),
            ("sliding_log", [0, 0, 1, 1, 2]),
            ("sliding_counter", [0, 0, 1.5, 2.0, 3.0]),
        ],
    )
    async def test_each_gets_the_next_slot_in_the_order_of_asking(
        self, store: Any, name: str, starts_s: list[float]
    ) -> None:
        limiter = RateLimiter("api", per_second(2), algorithm=ALGORITHMS[name], store=store)
        assert (await self._starts(limiter, 5)) == [
            (number, pytest.approx(start_s, abs=1e-5)) for number, start_s in enumerate(starts_s)
        ]

    async def test_what_has_no_place_in_the_bucket_is_turned_away(self, store: Any) -> None:
        limiter = RateLimiter("api", per_second(10, burst=3), algorithm=LeakyBucket(), store=store)
        found = await self._starts(limiter, 5)
        assert [number for number, start in found if start == "refused"] == [3, 4]
        passed = [start for start in found if start[1] != "refused"]
        assert passed == [(number, pytest.approx(number / 10, abs=1e-5)) for number in range(3)]

    async def _starts(self, limiter: RateLimiter, callers: int) -> list[tuple[int, Any]]:
        start_s, done = clock.SYSTEM.monotonic(), []

        async def caller(number: int) -> None:
            try:
                await limiter.wait("x")
                done.append((number, clock.SYSTEM.monotonic() - start_s))
            except RateLimited:
                done.append((number, "refused"))

        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(caller(number))
        return done

    @every
    async def test_a_cancelled_caller_gives_its_slot_back(self, store: Any, name: str) -> None:
        limiter = RateLimiter("api", Rate(2, 10.0), algorithm=ALGORITHMS[name], store=store)
        while (await limiter.acquire("x")).allowed:
            pass
        before = (await limiter.peek("x")).retry_after_s
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await limiter.wait("x")
        assert before - 0.01 < (await limiter.peek("x")).retry_after_s <= before

    @every
    async def test_over_several_rates_it_waits_without_a_booking(self, store: Any, name: str) -> None:
        limiter = RateLimiter("api", [Rate(5, 1.0), Rate(1, 10.0)], algorithm=ALGORITHMS[name], store=store)
        await limiter.wait("x")
        start_s = clock.SYSTEM.monotonic()
        expected_s = (await limiter.peek("x")).retry_after_s
        with pytest.raises(RateLimited):
            await limiter.wait("x", max_wait_s=expected_s - 1.0)
        await limiter.wait("x")
        assert clock.SYSTEM.monotonic() - start_s == pytest.approx(expected_s, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@every
async def test_on_every_store_a_cancelled_wait_leaves_nothing(
    kind: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with opened(request, kind, tmp_path) as backend:
        limiter = RateLimiter(unique("api"), Rate(2, 3600.0), algorithm=ALGORITHMS[name], store=backend.states)
        while (await limiter.acquire("x")).allowed:
            pass
        before = (await limiter.peek("x")).reset_after_s
        with pytest.raises(TimeoutError):
            # By then it has its slot, also from a store that is slow to answer on a busy machine.
            async with asyncio.timeout(0.5):
                await limiter.wait("x", max_wait_s=20_000.0)
        assert (await limiter.peek("x")).reset_after_s <= before


@every
async def test_a_guard_peek_and_reset(name: str) -> None:
    limiter = RateLimiter("api", Rate(1, 366 * 86_400.0), algorithm=ALGORITHMS[name])
    shown = "" if name == "gcra" else f", {name}"  # the default goes without saying
    assert limiter.describe() == f"RateLimiter 'api' (1 per 3.16224e+07 s, burst 1{shown})"
    async with limiter.guard("x"):
        assert (await limiter.peek("x")).remaining == 0
    with pytest.raises(RateLimited):
        await limiter.by("x").protect(asyncio.sleep)(0)
    await limiter.reset("x")
    assert (await limiter.acquire("x")).allowed


@every
async def test_two_algorithms_under_one_name_do_not_read_each_others_numbers(name: str) -> None:
    states = MemoryBackend().states
    for algorithm in ALGORITHMS.values():
        limiter = RateLimiter("api", Rate(1, 366 * 86_400.0), algorithm=algorithm, store=states)
        assert [(await limiter.acquire(name)).allowed for _ in range(2)] == [True, False]


@every
@pytest.mark.parametrize(("on_outage", "allowed"), [("allow", True), ("refuse", False)])
async def test_an_outage_is_answered_as_on_outage_says(name: str, on_outage: Any, allowed: bool) -> None:
    store = Between(MemoryBackend().states)
    limiter = RateLimiter("api", per_second(5), algorithm=ALGORITHMS[name], store=store, on_outage=on_outage)
    store.fail = BackendUnavailable
    decision = await limiter.acquire("x")
    assert (decision.allowed, decision.remaining) == (allowed, decision.limit if allowed else 0)


@pytest.mark.parametrize("algorithm", [FixedWindow, "fixed_window", 5])
def test_an_algorithm_is_a_value(algorithm: Any) -> None:
    with pytest.raises(TypeError, match="algorithm must be"):
        RateLimiter("api", per_second(1), algorithm=algorithm)


def test_what_an_algorithm_cannot_keep_is_refused_when_it_is_built() -> None:
    with pytest.raises(ValueError, match="burst"):
        RateLimiter("api", per_second(1, burst=5), algorithm=FixedWindow())
    with pytest.raises(ValueError, match="count"):
        RateLimiter("api", {"user": per_second(2000)}, algorithm=SlidingLog())


def test_the_page_shows_what_the_script_gives() -> None:
    assert table() in PAGE.read_text(), "run: python benchmarks/limiter_admits.py"
