"""The fast path in memory decides what the general step decides, on the same cells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdpatterns import Rate, RateLimiter, per_hour, per_second
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import SHIFTED_EPOCH_US, WHOLE, Clock, process_now_us
from sdpatterns.core.runtime import finish
from sdpatterns.ports import local
from sdpatterns.traffic.ratelimit import GCRA, fastpath
from tests.traffic.ratelimit.oracle import Leaky


class Ticking:
    """Stands where both ways read the process's clock."""

    def __init__(self, start_s: float = 5_000.0) -> None:
        self.passed_us = 0
        self._start_s = start_s

    def monotonic(self) -> float:
        return self._start_s + self.passed_us / 1e6

    def now_us(self) -> int:
        return int(self.monotonic() * 1e6 + SHIFTED_EPOCH_US - WHOLE)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    clock = Ticking()
    monkeypatch.setattr(fastpath, "monotonic", clock.monotonic)
    monkeypatch.setattr(local, "monotonic", clock.monotonic)
    return clock


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    count=st.integers(1, 1000),
    burst=st.integers(1, 8),
    requests=st.lists(
        st.tuples(st.integers(0, 3_000_000), st.sampled_from("abc"), st.integers(1, 3), st.booleans()), max_size=50
    ),
)
def test_both_ways_and_a_replayed_bucket_agree(
    ticking: Ticking, count: int, burst: int, requests: list[tuple[int, str, int, bool]]
) -> None:
    rate = Rate(count, 1.0, burst=burst)
    mixed = RateLimiter("api", rate)
    general = RateLimiter("api", rate, store=MemoryBackend(clock=Clock(ticking.monotonic, ticking.now_us)).states)
    oracles = {key: Leaky(rate) for key in "abc"}
    for passed_us, key, asked, by_step in requests:
        ticking.passed_us += passed_us
        cost = min(asked, burst)
        expected = oracles[key].acquire(ticking.now_us(), cost)
        ask: Callable[..., Any] = mixed._acquire if by_step else mixed.acquire
        one, other = finish(ask(key, cost)), finish(general.acquire(key, cost))
        assert one.allowed is other.allowed is expected
        assert (one.reset_after_s, one.wait_us, one.remaining) == (other.reset_after_s, other.wait_us, other.remaining)
        assert one.remaining == max(0, oracles[key].remaining(ticking.now_us()))


def test_the_quick_reading_of_the_clock_is_the_clock() -> None:
    before = process_now_us()
    quick = time.monotonic() * 1e6 + SHIFTED_EPOCH_US - WHOLE
    assert before - 1 <= quick <= process_now_us() + 1
    assert quick == int(quick)


def test_what_was_written_on_the_fast_path_is_kept_until_it_has_passed(ticking: Ticking) -> None:
    limiter = RateLimiter("api", per_second(10))
    for _ in range(10):
        assert limiter.acquire_now("limited").allowed
    for turn in range(9):
        ticking.passed_us += 100_000
        for number in range(3000):
            limiter.acquire_now(f"spray {turn} {number}")
        assert not limiter.acquire_now("limited", cost=10).allowed
    ticking.passed_us += 100_000
    assert limiter.acquire_now("limited", cost=10).allowed


@pytest.fixture
def hesitant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that let another thread run between their look at a cell and their write to it, and no time that passes."""
    clock = Ticking()

    def hesitate(function: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any) -> Any:
            time.sleep(0)
            return function(*args)

        return slow

    monkeypatch.setattr(local, "monotonic", clock.monotonic)
    monkeypatch.setattr(fastpath, "monotonic", hesitate(clock.monotonic))
    monkeypatch.setattr(GCRA, "advance", hesitate(GCRA.advance))


@pytest.mark.usefixtures("hesitant")
@pytest.mark.parametrize("way", ["fast path", "step", "scopes"])
def test_eight_threads_at_a_limit_of_1000_admit_exactly_1000(way: str) -> None:
    rates: Any = {"all": per_hour(1000), "each": per_hour(1_000_000)} if way == "scopes" else per_hour(1000)
    limiter = RateLimiter("api", rates)
    key: Any = {"all": "x", "each": "y"} if way == "scopes" else "x"
    ask = limiter.acquire if way == "fast path" else limiter._acquire
    ready = threading.Barrier(8)

    def work() -> int:
        ready.wait()
        return sum(finish(ask(key, 1)).allowed for _ in range(500))

    with ThreadPoolExecutor(8) as pool:
        admitted = sum(future.result() for future in [pool.submit(work) for _ in range(8)])
    assert admitted == 1000


def test_a_state_that_another_number_of_rates_has_left_is_read_all_the_same() -> None:
    states = MemoryBackend().states
    two = RateLimiter("api", [per_hour(2), per_hour(9)], store=states)
    one = RateLimiter("api", per_hour(2), store=states)
    assert two.acquire_now("x").allowed
    assert [one.acquire_now("x").allowed for _ in range(2)] == [True, False]
    assert not two.acquire_now("x").allowed


def test_the_lock_is_free_after_any_exception() -> None:
    limiter = RateLimiter("api", per_second(1))
    with pytest.raises(TypeError):
        limiter.acquire_now([])  # type: ignore[arg-type]
    assert limiter.acquire_now("x").allowed
