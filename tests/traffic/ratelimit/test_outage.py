"""A store that is away, a reply that was lost, a cluster that cannot take one step over two nodes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from sdpatterns import Quota, RateLimiter, listen, monthly, per_minute, per_second
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.notices import Notice
from sdpatterns.errors import BackendFull, BackendUnavailable, OutcomeUnknown, RateLimited, UnknownVersion
from sdpatterns.traffic.ratelimit import LimitBypassed
from tests.traffic.ratelimit.stores import Between

pytestmark = pytest.mark.anyio

SCOPES = {"user": per_minute(2), "ip": per_minute(1)}


@pytest.fixture
def store() -> Between:
    return Between(MemoryBackend().states)


@pytest.mark.parametrize("kind", [BackendUnavailable, OutcomeUnknown])
async def test_allow_lets_the_request_pass_and_says_so(store: Between, kind: type[Exception]) -> None:
    limiter = RateLimiter("api", per_minute(1), store=store)
    store.fail = kind
    heard: list[Notice] = []
    with listen(heard.append):
        decisions = [await limiter.acquire("x") for _ in range(3)]
        assert (await limiter.wait("x")).allowed
        async with limiter.guard("x"):
            pass
    assert [decision.allowed for decision in decisions] == [True, True, True]
    assert [notice.labels() for notice in heard] == [{"name": "api", "policy": "allow"}] * 5
    assert all(isinstance(notice, LimitBypassed) and notice.key == "x" for notice in heard)
    assert heard[0].error == "redis://store is away"  # type: ignore[attr-defined]


async def test_a_full_store_lifts_no_limit(store: Between, caplog: pytest.LogCaptureFixture) -> None:
    """Not by scope, not for who waits, not for what was used before; and room again is used again."""
    limiter = RateLimiter("api", per_minute(5), store=store)
    scoped = RateLimiter("scoped", SCOPES, store=store)
    used = [await limiter.acquire("x") for _ in range(3)]
    await scoped.acquire({"user": "a", "ip": "1"})
    store.fail = BackendFull
    heard: list[Notice] = []
    with listen(heard.append):
        decisions = [await limiter.acquire("x") for _ in range(300)]
    assert sum(decision.allowed for decision in [*used, *decisions]) == 5
    assert sum([(await limiter.acquire("y")).allowed for _ in range(300)]) == 5
    assert {type(notice).__name__ for notice in heard} == {"CountedHere", "LimitReached"}
    assert not (await scoped.acquire({"user": "a", "ip": "1"})).allowed
    assert [(await scoped.acquire({"user": "a", "ip": "2"})).allowed for _ in range(2)] == [True, False]
    with pytest.raises(RateLimited):
        await limiter.wait("y", max_wait_s=0.0)
    assert [record.getMessage() for record in caplog.records] == [
        f"RateLimiter {name!r}: its store is full, this process counts by itself: redis://store is away"
        for name in ("api", "scoped")
    ]
    store.fail = None
    assert (await limiter.acquire("x")).allowed


async def test_a_full_store_is_refused_or_raised_where_the_owner_says_so(store: Between) -> None:
    refusing = RateLimiter("api", per_minute(5), store=store, on_outage="refuse")
    raising = Quota("api", monthly(5), store=store, on_outage="raise")
    store.fail = BackendFull
    assert not (await refusing.acquire("x")).allowed
    with pytest.raises(BackendFull):
        await raising.acquire("x")


async def test_refuse_answers_no_with_a_time_to_come_back(store: Between) -> None:
    limiter = RateLimiter("api", SCOPES, store=store, on_outage="refuse")
    store.fail = BackendUnavailable
    heard: list[Notice] = []
    with listen(heard.append):
        decision = await limiter.acquire({"user": "a", "ip": "1"})
    assert (decision.allowed, decision.remaining, decision.retry_after_s) == (False, 0, 1.0)
    assert [notice.labels()["policy"] for notice in heard] == ["refuse"]
    with pytest.raises(RateLimited):
        await limiter.wait({"user": "a", "ip": "1"})


async def test_raise_hands_the_failure_on_bare(store: Between) -> None:
    limiter = RateLimiter("api", per_minute(1), store=store, on_outage="raise")
    store.fail = BackendUnavailable
    for ask in (limiter.acquire, limiter.wait):
        with pytest.raises(BackendUnavailable, match="redis://store is away"):
            await ask("x")


async def test_other_failures_and_the_reading_verbs_are_never_answered_for_the_store(store: Between) -> None:
    limiter = RateLimiter("api", per_minute(1), store=store)
    store.fail = UnknownVersion
    with pytest.raises(UnknownVersion):
        await limiter.acquire("x")
    store.fail = BackendUnavailable
    for ask in (limiter.peek, limiter.reset):
        with pytest.raises(BackendUnavailable):
            await ask("x")


async def test_it_counts_again_as_soon_as_the_store_is_back(store: Between) -> None:
    limiter = RateLimiter("api", per_minute(1), store=store)
    store.fail = BackendUnavailable
    await limiter.acquire("x")
    store.fail = None
    assert [(await limiter.acquire("x")).allowed for _ in range(2)] == [True, False]


async def test_scopes_on_a_cluster_need_a_group(store: Between) -> None:
    store.is_cluster = True
    limiter = RateLimiter("api", SCOPES, store=store)
    with pytest.raises(TypeError, match="group"):
        await limiter.acquire({"user": "a", "ip": "1"})
    assert store.steps == []
    grouped = RateLimiter("api", SCOPES, store=store, group="limits")
    assert (await grouped.acquire({"user": "a", "ip": "1"})).allowed
    assert store.groups == [None, "limits"]


async def test_one_by_one_gives_back_what_a_later_scope_refuses(store: Between) -> None:
    limiter = RateLimiter("api", SCOPES, store=store, atomic=False)
    assert (await limiter.acquire({"user": "a", "ip": "1"})).allowed
    refused = await limiter.acquire({"user": "b", "ip": "1"})
    assert (refused.allowed, refused.scope) == (False, "ip")
    assert store.steps == ["Reserve", "Reserve", "Reserve", "Reserve", "Cancel"]
    assert (await limiter.peek({"user": "b", "ip": "2"})).remaining == 1
    assert (await limiter.acquire({"user": "b", "ip": "2"})).allowed


async def test_one_by_one_a_look_gives_nothing_back(store: Between) -> None:
    limiter = RateLimiter("api", SCOPES, store=store, atomic=False)
    await limiter.acquire({"user": "a", "ip": "1"})
    assert not (await limiter.peek({"user": "a", "ip": "1"})).allowed
    decision = await limiter.peek({"user": "a", "ip": "2"})
    assert (decision.scope, decision.remaining) == ("user", 1)


@pytest.mark.parametrize("end", ["failure", "cancelled"])
async def test_one_by_one_gives_back_when_it_ends_between_two_scopes(store: Between, end: str) -> None:
    limiter = RateLimiter("api", SCOPES, store=store, atomic=False, on_outage="raise")
    if end == "failure":
        store.fail, store.fail_after = BackendUnavailable, 1
        acquiring = limiter.acquire({"user": "a", "ip": "1"})
        with pytest.raises(BackendUnavailable):
            await acquiring
        store.fail = None
    else:
        task = asyncio.ensure_future(limiter.acquire({"user": "a", "ip": "1"}))
        for _ in range(100):
            await asyncio.sleep(0)
            if len(store.steps) == 2:
                break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.steps == ["Reserve", "Reserve", "Cancel"]
        assert (await limiter.peek({"user": "a", "ip": "1"})).allowed


async def test_one_by_one_never_admits_too_many(store: Between) -> None:
    rates = {"user": per_minute(5), "ip": per_minute(7), "all": per_minute(11)}
    limiter = RateLimiter("api", rates, store=store, atomic=False)
    chance = random.Random(7)
    keys = [{"user": chance.choice("abc"), "ip": chance.choice("12"), "all": ""} for _ in range(200)]
    decisions = await asyncio.gather(*(limiter.acquire(key) for key in keys))
    passed = [key for key, decision in zip(keys, decisions, strict=True) if decision.allowed]
    assert 0 < len(passed) <= 11
    for scope, rate in rates.items():
        for name in {key[scope] for key in keys}:
            assert sum(key[scope] == name for key in passed) <= rate.limit


async def test_a_store_that_suspends_cannot_be_asked_without_an_await(store: Between) -> None:
    limiter: Any = RateLimiter("api", per_second(1), store=store)
    assert limiter.runtime is store.runtime
    assert not limiter.never_waits
    with pytest.raises(TypeError, match="await acquire"):
        limiter.acquire_now("x")
    with pytest.raises(TypeError, match="plain def"):
        limiter.by("x").protect(lambda: None)


async def test_a_wait_for_several_scopes_ends_an_outage_too(store: Between, caplog: pytest.LogCaptureFixture) -> None:
    limiter, key = RateLimiter("api", SCOPES, store=store), {"user": "a", "ip": "1"}
    for failing in (BackendUnavailable, None, BackendUnavailable):
        store.fail = failing
        assert (await limiter.wait(key)).allowed
    assert [record.name for record in caplog.records] == ["sdpatterns"] * 2


@pytest.mark.parametrize("kind", [RateLimiter, Quota])
async def test_the_first_bypass_of_an_outage_is_logged_without_any_listener(
    store: Between, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = kind("api", per_minute(50) if kind is RateLimiter else monthly(50), store=store)

    async def ask(failing: Any) -> list[str]:
        caplog.clear()
        store.fail = failing
        for _ in range(3):
            assert (await limiter.acquire("x")).allowed
        return [record.getMessage() for record in caplog.records if record.name == "sdpatterns"]

    told = f"{kind.__name__} 'api' goes on without its store, on_outage='allow': redis://store is away"
    assert await ask(None) == []
    assert await ask(BackendUnavailable) == [told]
    assert await ask(BackendUnavailable) == []
    assert await ask(None) == []
    assert await ask(BackendUnavailable) == [told]
