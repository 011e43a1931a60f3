"""A forked child works, whatever another thread of the parent was doing at that moment."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sdpatterns import Bulkhead, CircuitBreaker, Idempotency, Quota, RateLimiter, monthly, per_minute
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core import forks
from sdpatterns.core.runtime import BLOCKING, finish
from sdpatterns.observability.prometheus import PrometheusListener
from sdpatterns.observability.sampling import Sampling
from sdpatterns.observability.traces import TraceStore
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.local import LocalCells
from sdpatterns.ports.pressure import Usage
from tests.forks import held, in_child, needs_fork
from tests.steps import space

pytestmark = needs_fork

Use = Callable[[], object]
LOCK = type(threading.Lock())


def locks_in(thing: object) -> list[threading.Lock]:
    """Every plain lock that the thing and its own parts hold on to."""
    found, seen, todo = [], set(), [thing]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, LOCK):
            found.append(one)
        elif type(one).__module__.startswith("sdpatterns") or isinstance(one, (dict, list, tuple)):
            todo += gc.get_referents(one)
    return found


def run(call: Callable[[], Any]) -> object:
    return asyncio.run(call())


async def nothing() -> None: ...


def limiter() -> tuple[object, Use]:
    guard = RateLimiter("forks", per_minute(5))
    return guard, lambda: run(lambda: guard.acquire("a"))


def quota() -> tuple[object, Use]:
    guard = Quota("forks", monthly(5))
    return guard, lambda: run(lambda: guard.acquire("a"))


def breaker() -> tuple[object, Use]:
    guard = CircuitBreaker("forks")
    return guard, lambda: [run(lambda: guard.call(nothing)), run(lambda: guard.by("a").call(nothing))]


def bulkhead() -> tuple[object, Use]:
    guard = Bulkhead("forks", concurrent_max=1)
    return guard, lambda: run(lambda: guard.call(nothing))


def idempotency() -> tuple[object, Use]:
    policy = Idempotency("forks", store=MemoryBackend().states)
    return policy, lambda: run(lambda: policy.by("a").call(nothing))


def states() -> tuple[object, Use]:
    store = MemoryBackend().states
    return store, lambda: run(lambda: RateLimiter("b", per_minute(1), store=store).acquire("a"))


def signals() -> tuple[object, Use]:
    bus = LocalSignals()

    async def play() -> None:
        async with bus.subscribe("a") as subscription:
            await bus.notify("a")
            assert await subscription.wait(60.0)

    return bus, lambda: run(play)


def sampling() -> tuple[object, Use]:
    sampled = Sampling(burst_max=1)
    return sampled, lambda: sampled.keeps("a", logging.INFO)


def traces() -> tuple[object, Use]:
    kept = TraceStore()
    return kept, kept.recent


def usage() -> tuple[object, Use]:
    counted = Usage()
    return counted, counted.fail


THINGS = [limiter, quota, breaker, bulkhead, idempotency, states, signals, sampling, traces, usage]


def test_a_child_works_though_another_thread_holds_a_lock_of_a_pattern() -> None:
    for make in THINGS:
        thing, use = make()
        use()
        locks = locks_in(thing)
        assert locks, make.__name__
        for lock in locks:
            with held(lock):
                assert in_child(use) == 0, make.__name__
            use()
            assert not lock.locked()


def test_a_child_counts_metrics_and_settles_quotas_though_another_thread_did() -> None:
    registry = pytest.importorskip("prometheus_client").CollectorRegistry()
    listener = PrometheusListener(registry=registry)
    from sdpatterns.core.notices import Notice
    from sdpatterns.traffic.quota.guard import _SETTLING

    [lock] = locks_in(listener)
    with held(lock):
        assert in_child(lambda: listener(Notice(name="a"))) == 0

    guard = Quota("settled", monthly(5))

    async def settles() -> None:
        await guard.settle(await guard.acquire("a"), 2)

    with held(_SETTLING):
        assert in_child(lambda: run(settles)) == 0


@pytest.fixture
def churning() -> Iterator[LocalCells[Any]]:
    cells: LocalCells[Any] = LocalCells(space("forks"))
    stop = threading.Event()

    def number(states: object, now_us: int) -> Any:
        return [1], None, [1e-5], ()

    def churn() -> None:
        while not stop.is_set():
            for key in range(500):
                cells.transact_now(str(key), number)  # type: ignore[arg-type]

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield cells
    stop.set()
    for thread in threads:
        thread.join()


def test_a_child_finds_no_change_that_is_half_made(churning: LocalCells[Any]) -> None:
    def check() -> None:
        assert len(churning) == sum(len(shard.young) + len(shard.old) for shard in churning.shards)

    assert [in_child(check) for _ in range(15)] == [0] * 15


def test_a_child_has_all_slots_of_a_bulkhead_because_the_calls_that_hold_them_run_in_the_parent() -> None:
    guard = Bulkhead("forks", concurrent_max=2, queue_max=1)
    enters = [finish(guard.enter(key)) for key in ("", "", "a", "a")]

    def fills() -> None:
        for key in ("", "a"):
            assert guard.occupancy(key) == (0, 0)
            finish(guard.enter(key))
            finish(guard.enter(key))
            assert guard.occupancy(key) == (2, 0)

    assert in_child(fills) == 0

    def ends_the_calls_of_the_parent() -> None:
        for key in enters:
            guard.leave(key, None, None)  # type: ignore[arg-type]
        fills()

    assert in_child(ends_the_calls_of_the_parent) == 0
    assert guard.occupancy() == (2, 0)


def test_a_child_wakes_no_waiter_of_the_parent() -> None:
    bus = LocalSignals()

    async def play() -> int:
        async with bus.subscribe("a"):
            return in_child(lambda: finish(bus.notify("a")) if not bus.has_subscribers else 1 / 0)

    assert finish(play()) == 0
    assert BLOCKING.name == "blocking"


def test_a_fork_from_inside_a_lock_works_too() -> None:
    cells: LocalCells[int] = LocalCells(space("forks"))

    def forks_inside(states: object, now_us: int) -> Any:
        return [1], in_child(lambda: cells.transact_now("b", plain)), [60.0], ()  # type: ignore[arg-type]

    def plain(states: object, now_us: int) -> Any:
        return [1], 0, [60.0], ()

    assert cells.transact_now("a", forks_inside) == 0  # type: ignore[arg-type]
    assert cells.transact_now("a", plain) == 0  # type: ignore[arg-type]


def test_an_owner_prepares_before_the_fork_and_drops_in_the_child() -> None:
    told: list[str] = []

    class Owner:
        def before_fork(self) -> None:
            told.append("before")

        def after_fork_in_parent(self) -> None:
            told.append("parent")

        def after_fork_in_child(self) -> None:
            told.append("child")

    owner = Owner()
    forks.prepare_for_fork(owner)
    forks.drop_in_child(owner)

    def check() -> None:
        assert told == ["before", "child"]

    assert in_child(check) == 0
    assert told == ["before", "parent"]
