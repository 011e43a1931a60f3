"""Waiting is booked: first come, first served, one sleep each, and nothing leaks."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
import trio

from sdpatterns import Rate, RateLimiter, listen, per_minute, per_second, with_deadline
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core import clock
from sdpatterns.core.notices import Notice
from sdpatterns.core.runtime import BLOCKING, finish
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown, RateLimited, UnknownVersion
from sdpatterns.testing.trio import trio_clock
from sdpatterns.traffic.ratelimit import LimitReached
from tests.loops import virtual_asyncio
from tests.traffic.ratelimit.stores import Between

pytestmark = pytest.mark.anyio
anyio_backend = virtual_asyncio


def since(start_s: float) -> float:
    return round(clock.SYSTEM.monotonic() - start_s, 6)


@pytest.fixture(params=["own", "memory", "suspending"])
def store(request: pytest.FixtureRequest) -> Any:
    memory = MemoryBackend().states
    return {"own": None, "memory": memory, "suspending": Between(memory)}[request.param]


async def test_each_gets_the_next_slot_in_the_order_of_asking(store: Any) -> None:
    limiter = RateLimiter("api", per_second(10, burst=1), store=store)
    start_s, done = clock.SYSTEM.monotonic(), []

    async def caller(number: int) -> None:
        decision = await limiter.wait("x")
        assert decision.allowed
        done.append((number, since(start_s)))

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(caller(number))
    assert done == [(number, pytest.approx(number / 10, abs=2e-6)) for number in range(5)]


async def test_waiting_for_one_scope_lets_no_requests_bunch_in_another(store: Any) -> None:
    limiter = RateLimiter("front", {"user": per_second(1, burst=1), "ip": per_second(10, burst=1)}, store=store)
    start_s, begun = clock.SYSTEM.monotonic(), []

    async def caller(user: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await limiter.wait({"user": user, "ip": "one"})
        begun.append(since(start_s))

    async with asyncio.TaskGroup() as group:
        for user, after_s in [("a", 0.0), ("a", 0.0), ("b", 0.95), ("c", 1.0)]:
            group.create_task(caller(user, after_s))
    assert len(begun) == 4
    assert min(later - earlier for earlier, later in itertools.pairwise(begun)) >= 0.1 - 2e-6


async def test_waiting_for_several_scopes_has_a_bound_too(store: Any) -> None:
    limiter = RateLimiter("front", {"user": per_second(1, burst=1), "ip": per_second(10)}, store=store)
    start_s, key = clock.SYSTEM.monotonic(), {"user": "a", "ip": "one"}
    await limiter.wait(key)
    heard: list[Notice] = []
    with listen(heard.append), pytest.raises(RateLimited):
        await limiter.wait(key, max_wait_s=0.5)
    assert [notice.event for notice in heard] == ["limit_reached"]
    await limiter.wait(key)
    assert since(start_s) == pytest.approx(1.0, abs=2e-6)


@pytest.mark.parametrize("after_s", [0.2, 0.6], ids=["on its way", "before its reply"])
@pytest.mark.parametrize("more", [[], [per_second(9)]], ids=["one rate", "two"])
async def test_a_booking_cancelled_in_flight_returns_its_slot(after_s: float, more: list[Rate]) -> None:
    store = Between(MemoryBackend().states)
    limiter = RateLimiter("api", [per_minute(1, burst=1), *more], store=store)
    await limiter.acquire("x")
    store.pause_s = 0.4
    cancelled = asyncio.create_task(limiter.wait("x", max_wait_s=1000.0))
    await asyncio.sleep(after_s)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    assert store.steps[-1] == "Cancel"
    assert (await limiter.peek("x")).retry_after_s <= 60.0


async def test_a_booking_cancelled_in_flight_passes_unused_when_another_came_after_it() -> None:
    store = Between(MemoryBackend().states)
    limiter = RateLimiter("api", per_second(1, burst=1), store=store)
    await limiter.wait("x")
    start_s, store.pause_s = clock.SYSTEM.monotonic(), 0.1
    cancelled, behind = [asyncio.create_task(limiter.wait("x")) for _ in range(2)]
    await asyncio.sleep(0.15)
    cancelled.cancel()
    await behind
    assert since(start_s) == pytest.approx(2.0, abs=0.2)


async def test_a_cancelled_caller_waits_a_second_at_most_for_the_reply_to_its_booking() -> None:
    store = Between(MemoryBackend().states)
    limiter = RateLimiter("api", per_second(1, burst=1), store=store)
    store.pause_s = 3600.0
    cancelled = asyncio.create_task(limiter.wait("x"))
    await asyncio.sleep(30.0)
    start_s = clock.SYSTEM.monotonic()
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    assert since(start_s) <= 1.0


async def test_a_slot_beyond_the_bound_is_refused_at_once_and_books_nothing(store: Any) -> None:
    limiter = RateLimiter("api", per_second(1, burst=1), store=store)
    start_s = clock.SYSTEM.monotonic()
    await limiter.wait("x")
    heard: list[Notice] = []
    with listen(heard.append), pytest.raises(RateLimited) as caught:
        await limiter.wait("x", max_wait_s=0.9)
    assert heard == [LimitReached(name="api", key="x", retry_after_s=1.0)]
    assert (caught.value.key, caught.value.retry_after_s) == ("x", 1.0)
    assert since(start_s) == 0
    await limiter.wait("x", max_wait_s=1.0)
    assert since(start_s) == 1.0


async def test_a_call_that_cannot_finish_before_its_deadline_is_refused_at_once() -> None:
    limiter = RateLimiter("api", per_second(1, burst=1))
    start_s = clock.SYSTEM.monotonic()
    await limiter.wait("x")
    with with_deadline(0.5), pytest.raises(RateLimited):
        await limiter.wait("x")
    with with_deadline(1.5):
        await limiter.wait("x")
    assert since(start_s) == 1.0
    with with_deadline(-1.0), pytest.raises(RateLimited):
        await limiter.wait("x")


@pytest.mark.parametrize("max_wait_s", [-0.1, float("inf"), float("nan")])
async def test_a_bound_that_is_none_is_refused(max_wait_s: float) -> None:
    with pytest.raises(ValueError, match="max_wait_s"):
        await RateLimiter("api", per_second(1)).wait("x", max_wait_s=max_wait_s)


async def test_the_last_booking_gives_its_slot_back_when_cancelled(store: Any) -> None:
    limiter = RateLimiter("api", per_second(1, burst=1), store=store)
    await limiter.wait("x")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            await limiter.wait("x")
    assert (await limiter.peek("x")).retry_after_s == pytest.approx(0.75)


async def test_a_cancelled_booking_with_another_behind_it_passes_unused(store: Any) -> None:
    limiter = RateLimiter("api", per_second(1, burst=1), store=store)
    await limiter.wait("x")
    start_s = clock.SYSTEM.monotonic()
    first = asyncio.ensure_future(limiter.wait("x"))
    await asyncio.sleep(0.1)
    second = asyncio.ensure_future(limiter.wait("x"))
    await asyncio.sleep(0.1)
    first.cancel()
    await second
    assert since(start_s) == pytest.approx(2.0)
    assert first.cancelled()


async def test_every_scope_gets_its_slot_back() -> None:
    limiter = RateLimiter("api", {"user": per_second(1, burst=1), "ip": per_second(2, burst=1)})
    key = {"user": "a", "ip": "1"}
    await limiter.wait(key)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            await limiter.wait(key)
    assert (await limiter.peek({"user": "a", "ip": "2"})).retry_after_s == pytest.approx(0.75)
    assert (await limiter.peek({"user": "b", "ip": "1"})).retry_after_s == pytest.approx(0.25)


@pytest.mark.parametrize("kind", [BackendUnavailable, OutcomeUnknown, UnknownVersion])
async def test_a_store_that_is_away_keeps_the_slot_and_the_cancellation_arrives(kind: type[Exception]) -> None:
    store = Between(MemoryBackend().states)
    limiter = RateLimiter("api", per_second(1, burst=1), store=store)
    await limiter.wait("x")
    waiting = asyncio.ensure_future(limiter.wait("x"))
    await asyncio.sleep(0.1)
    store.fail = kind
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    store.fail = None
    assert (await limiter.peek("x")).retry_after_s == pytest.approx(1.9)


async def test_a_give_back_under_way_outlives_a_second_cancellation() -> None:
    store = Between(MemoryBackend().states)
    limiter = RateLimiter("api", per_second(1, burst=1), store=store)
    await limiter.wait("x")
    waiting = asyncio.ensure_future(limiter.wait("x"))
    await asyncio.sleep(0.1)
    store.pause_s = 0.2
    waiting.cancel()
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    store.pause_s = 0.0
    assert (await limiter.peek("x")).allowed is False
    assert (await limiter.peek("x")).retry_after_s < 1.0


def test_under_trio_too() -> None:
    async def main() -> None:
        limiter = RateLimiter("api", per_second(1, burst=1))
        start_s = trio.current_time()
        done: list[float] = []

        async def caller() -> None:
            await limiter.wait("x")
            done.append(round(trio.current_time() - start_s, 3))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(caller)
        assert done == [0.0, 1.0, 2.0]
        with trio.move_on_after(0.5):
            await limiter.wait("x")
        assert (await limiter.peek("x")).retry_after_s == pytest.approx(0.5, abs=1e-3)

    with trio_clock() as virtual:
        trio.run(main, clock=virtual)


def test_without_a_loop_the_thread_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(BLOCKING, "sleep", sleep)
    limiter = RateLimiter("api", per_second(1, burst=1))
    for _ in range(3):
        assert finish(limiter.wait("x")).allowed
    assert slept == pytest.approx([1.0, 2.0], abs=0.5)
