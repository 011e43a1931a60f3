"""What a print or a debugger shows of a part: class, name, state and numbers; never an address, never an exception."""

from __future__ import annotations

from typing import Any

import pytest

from sdpatterns import (
    Bulkhead,
    CircuitBreaker,
    Fallback,
    Idempotency,
    Pipeline,
    Quota,
    RateLimiter,
    Retry,
    Timeout,
    monthly,
    per_minute,
)
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.policy import Policy
from sdpatterns.traffic.ratelimit import GCRA, FixedWindow, LeakyBucket, SlidingCounter, SlidingLog


def test_a_breaker_shows_its_state_and_its_failure_rate() -> None:
    breaker = CircuitBreaker("quotes", failure_rate=0.5, open_s=30.0)

    @breaker
    def fetch(fine: bool) -> None:
        if not fine:
            raise ConnectionError

    assert repr(breaker) == "<CircuitBreaker 'quotes': open for 30 s after 50% failed of 100 calls: closed>"
    fetch(fine=True)
    with pytest.raises(ConnectionError):
        fetch(fine=False)
    assert repr(breaker).endswith(": closed, 50% of 2 calls failed>")
    breaker.open()
    assert ": open (forced)" in repr(breaker)
    breaker.disable("eu-1")
    assert repr(breaker).endswith(", 1 keys with a circuit each>")


def test_a_repr_waits_for_no_lock() -> None:
    breaker, bulkhead = CircuitBreaker("b"), Bulkhead("b", concurrent_max=1)
    with breaker._circuit.lock, bulkhead._lock:
        assert "closed" in repr(breaker)
        assert "0 running" in repr(bulkhead)


@pytest.mark.anyio
async def test_a_bulkhead_shows_how_full_it_is() -> None:
    bulkhead = Bulkhead("reports", concurrent_max=4, queue_max=10, max_wait_s=1.0)
    async with bulkhead.guard(), bulkhead.guard("eu"):
        assert repr(bulkhead) == (
            "<Bulkhead 'reports': 4 at once, 10 waiting up to 1 s: 1 running, 0 waiting, 1 keys in use>"
        )


def test_a_limiter_and_a_quota_show_their_bounds_and_their_store() -> None:
    states = MemoryBackend().states
    assert (
        repr(RateLimiter("api", per_minute(5, burst=2))) == "<RateLimiter 'api' (5 per 60 s, burst 2): in this process>"
    )
    assert repr(RateLimiter("api", per_minute(5), store=states)).endswith(": in MemoryStates>")
    assert repr(Quota("calls", monthly(5), store=states)) == "<Quota 'calls' (5 a month; UTC): in MemoryStates>"
    assert repr(RateLimiter("api", per_minute(5)).by("x")).endswith(" by key: in this process>")


def test_a_retry_and_a_pipeline_show_what_they_do() -> None:
    assert repr(Retry(on=OSError)) == "<Retry: 3 attempts, full_jitter 0.1-10 s>"
    pipeline = Pipeline(Retry(on=OSError), CircuitBreaker("b"), Timeout(2), name="quotes")
    assert repr(pipeline) == (
        "<Pipeline 'quotes': <Retry: 3 attempts, full_jitter 0.1-10 s> > <CircuitBreaker 'b': open for 30 s after"
        " 50% failed of 100 calls: closed> > <Timeout: 2 s>>"
    )
    assert repr(blocking(CircuitBreaker("b"))) == "blocking(CircuitBreaker 'b')"


@pytest.mark.anyio
async def test_no_part_and_nothing_that_it_gives_shows_an_address() -> None:
    limiter, breaker = RateLimiter("api", per_minute(5)), CircuitBreaker("b")
    held: list[Any] = [
        limiter, breaker, limiter.guard("x"), breaker.guard(), limiter.by("x").guard(), Timeout(1.0).guard(),
        Idempotency("once", store=MemoryBackend().states), Fallback(lambda: 0, object(), on=OSError),
        await limiter.acquire("x"), await Quota("q", monthly(5)).acquire("x"), breaker.snapshot(),
        GCRA(), FixedWindow(), LeakyBucket(), SlidingCounter(), SlidingLog(),
        blocking(limiter), blocking(limiter).by("x"),
    ]  # fmt: skip
    for part in (breaker, Timeout(1.0), Bulkhead("b", concurrent_max=1)):
        async with part.guard() as permit:
            held.append(permit)
    async for attempt in Retry(on=OSError):
        with attempt:
            held.append(attempt)
    for thing in held:
        assert " at 0x" not in repr(thing), repr(thing)
        assert type(thing).__name__.lstrip("_") in repr(thing) or "blocking(" in repr(thing) or permit is thing


def test_a_half_built_part_and_one_whose_own_words_fail_are_shown_all_the_same() -> None:
    class Odd(Timeout):
        def describe(self) -> str:
            raise RuntimeError

    kinds: list[type[Policy]] = [Retry, CircuitBreaker, Bulkhead, RateLimiter, Quota, Idempotency, Fallback, Pipeline]
    for kind in kinds:
        assert repr(kind.__new__(kind)) == f"<{kind.__name__}>"
    assert repr(Odd(1.0)) == "<Odd>"
