"""The limiter as its users meet it, on memory."""

from __future__ import annotations

from typing import Any

import pytest

from sdpatterns import Pipeline, RateLimiter, listen, per_minute, per_second
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.notices import Notice
from sdpatterns.errors import RateLimited
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.traffic.ratelimit import LimitReached

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Any:
    with VirtualClock() as installed:
        yield installed


@pytest.fixture(params=["own", "memory"])
def store(request: pytest.FixtureRequest) -> Any:
    return None if request.param == "own" else MemoryBackend().states


async def test_a_burst_passes_and_then_one_an_interval(store: Any, clock: VirtualClock) -> None:
    limiter = RateLimiter("api", per_second(10, burst=3), store=store)
    assert [(await limiter.acquire("x")).remaining for _ in range(3)] == [2, 1, 0]
    refused = await limiter.acquire("x")
    assert (refused.allowed, refused.limit, refused.retry_after_s, refused.reset_after_s) == (False, 3, 0.1, 0.3)
    clock.advance(0.1)
    assert [(await limiter.acquire("x")).allowed for _ in range(2)] == [True, False]


async def test_keys_do_not_touch_each_other(store: Any) -> None:
    limiter = RateLimiter("api", per_minute(1), store=store)
    assert [(await limiter.acquire(key)).allowed for key in ("a", "b", "a", "b", "")] == [
        True,
        True,
        False,
        False,
        True,
    ]


async def test_two_limiters_of_one_store_count_apart_by_name() -> None:
    states = MemoryBackend().states
    one, same, other = (RateLimiter(name, per_minute(1), store=states) for name in ("a", "a", "b"))
    assert (await one.acquire("x")).allowed
    assert not (await same.acquire("x")).allowed
    assert (await other.acquire("x")).allowed


async def test_a_weighted_request_takes_its_cost_or_nothing(store: Any, clock: VirtualClock) -> None:
    limiter = RateLimiter("api", per_second(10), store=store)
    assert (await limiter.acquire("x", cost=7)).remaining == 3
    refused = await limiter.acquire("x", cost=5)
    assert (refused.allowed, refused.remaining, refused.retry_after_s) == (False, 3, 0.2)
    assert (await limiter.acquire("x", cost=3)).allowed


@pytest.mark.parametrize("cost", [0, -1, 11, 1.5, 10**9, "x", None, True + 10])
async def test_a_cost_that_can_never_pass_is_refused_by_name_and_range(store: Any, cost: Any) -> None:
    limiter = RateLimiter("api", per_second(10), store=store)
    for ask in (limiter.acquire, limiter.wait, limiter.peek):
        with pytest.raises(ValueError, match="cost must be a whole number from 1 to 10"):
            await ask("x", cost)
    assert (await limiter.peek("x")).remaining == 10


async def test_the_smallest_burst_bounds_the_cost_of_several_rates() -> None:
    with pytest.raises(ValueError, match="from 1 to 3"):
        await RateLimiter("api", [per_second(10), per_minute(3)]).acquire("x", cost=4)


async def test_several_rates_must_all_hold(store: Any, clock: VirtualClock) -> None:
    limiter = RateLimiter("api", [per_second(2), per_minute(3)], store=store)
    assert [(await limiter.acquire("x")).allowed for _ in range(3)] == [True, True, False]
    clock.advance(1.0)
    assert [(await limiter.acquire("x")).allowed for _ in range(2)] == [True, False]
    assert (await limiter.acquire("x")).retry_after_s == 19.0


async def test_all_scopes_are_decided_in_one_step_and_a_refusal_uses_none(store: Any, clock: VirtualClock) -> None:
    limiter = RateLimiter("api", {"user": per_second(2), "ip": per_second(3)}, store=store)
    assert (await limiter.acquire({"user": "a", "ip": "1"})).scope == "user"
    assert (await limiter.acquire({"user": "a", "ip": "1"})).allowed
    refused = await limiter.acquire({"user": "a", "ip": "1"})
    assert (refused.allowed, refused.scope) == (False, "user")
    assert (await limiter.peek({"user": "b", "ip": "1"})).remaining == 1


async def test_a_scope_name_and_a_key_never_run_into_each_other() -> None:
    limiter = RateLimiter("api", {"a": per_minute(1), "a/b": per_minute(1)})
    assert (await limiter.acquire({"a": "b/c", "a/b": "c"})).allowed
    assert (await limiter.peek({"a": "x", "a/b": "y"})).remaining == 1


@pytest.mark.parametrize("key", [5, None, b"x", {"user": "a"}, ["x"]])
async def test_a_key_that_is_no_string_is_refused(store: Any, key: Any) -> None:
    limiter = RateLimiter("api", per_second(1), store=store)
    for ask in (limiter.acquire, limiter.peek, limiter.reset):
        with pytest.raises(TypeError):
            await ask(key)


async def test_a_key_is_a_name_and_not_a_payload(store: Any) -> None:
    limiter = RateLimiter("api", per_second(1), store=store)
    assert (await limiter.acquire("x" * 1024)).allowed
    with pytest.raises(ValueError, match="1024 bytes"):
        await limiter.acquire("é" * 513)


async def test_a_key_that_no_store_could_hold_is_refused_on_every_store(store: Any) -> None:
    limiter = RateLimiter("api", per_second(1), store=store)
    with pytest.raises(ValueError, match="half a character"):
        await limiter.acquire("half a \ud83d")
    scopes = RateLimiter("api", {"path": per_second(2), "ip": per_second(3)}, store=store)
    with pytest.raises(ValueError, match="1024 bytes long, got 1205"):
        await scopes.acquire({"path": "/" * 400, "ip": "1"})


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("x", TypeError),
        ({"user": "a"}, ValueError),
        ({"user": "a", "ip": "1", "plan": "b"}, ValueError),
        ({"user": "a", "ip": 1}, TypeError),
    ],
)
async def test_a_key_with_scopes_names_each_of_them(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await RateLimiter("api", {"user": per_second(2), "ip": per_second(3)}).acquire(key)


async def test_peek_uses_nothing_and_reset_forgets(store: Any) -> None:
    limiter = RateLimiter("api", per_minute(2), store=store)
    await limiter.acquire("x")
    assert [(await limiter.peek("x")).remaining for _ in range(3)] == [1, 1, 1]
    await limiter.acquire("x")
    assert not (await limiter.peek("x")).allowed
    await limiter.reset("x")
    assert (await limiter.peek("x")).remaining == 2


async def test_reset_forgets_every_scope() -> None:
    limiter = RateLimiter("api", {"user": per_minute(1), "ip": per_minute(1)})
    await limiter.acquire({"user": "a", "ip": "1"})
    await limiter.reset({"user": "a", "ip": "1"})
    assert (await limiter.acquire({"user": "a", "ip": "1"})).allowed


async def test_a_guard_raises_the_refusal_with_what_to_do_next(clock: VirtualClock) -> None:
    limiter = RateLimiter("api", per_second(10, burst=1))
    async with limiter.guard("x") as decision:
        assert decision.allowed
    with pytest.raises(RateLimited) as caught:
        async with limiter.guard("x"):
            pytest.fail("a refused passage was entered")
    assert (caught.value.name, caught.value.key, caught.value.retry_after_s) == ("api", "x", 0.1)


async def test_a_guard_with_scopes_names_the_one_that_refused() -> None:
    limiter = RateLimiter("api", {"user": per_minute(9), "ip": per_minute(1)})
    async with limiter.guard({"user": "a", "ip": "1"}):
        pass
    with pytest.raises(RateLimited) as caught:
        async with limiter.guard({"user": "a", "ip": "1"}):
            pytest.fail("a refused passage was entered")
    assert caught.value.key == "ip:1"


async def test_the_callers_own_exception_passes_and_the_slot_stays_used() -> None:
    limiter = RateLimiter("api", per_minute(2))
    with pytest.raises(KeyError):
        async with limiter.guard("x"):
            raise KeyError
    assert (await limiter.peek("x")).remaining == 1


async def test_protect_by_a_key_from_the_call() -> None:
    limiter = RateLimiter("api", per_minute(1))

    @limiter.by(lambda customer, item: customer).protect
    async def order(customer: str, item: str) -> str:
        return f"{customer}:{item}"

    assert await order("ann", "tea") == "ann:tea"
    assert await order("bob", item="tea") == "bob:tea"
    with pytest.raises(RateLimited):
        await order("ann", "milk")


async def test_protect_by_a_fixed_key_or_mapping_and_in_a_pipeline() -> None:
    limiter = RateLimiter("api", {"user": per_minute(1)})
    pipeline = Pipeline(limiter.by({"user": "a"}), name="calls")

    async def work() -> int:
        return 5

    assert await pipeline.call(work) == 5
    with pytest.raises(RateLimited):
        await limiter.by(lambda: {"user": "a"}).call(work)
    assert limiter.describe() in pipeline.explain()
    async with limiter.by({"user": "b"}).guard() as decision:
        assert decision.scope == "user"
    with pytest.raises(RateLimited):
        async with limiter.by({"user": "b"}).guard():
            pytest.fail("not reached")
    with pytest.raises(TypeError, match="depends on a call"):
        limiter.by(lambda: {"user": "b"}).guard()


def test_a_plain_function_is_protected_where_nothing_can_wait() -> None:
    limiter = RateLimiter("api", per_minute(1))

    @limiter.by("x").protect
    def work() -> int:
        return 5

    assert work() == 5
    with pytest.raises(RateLimited):
        work()
    assert not limiter.acquire_now("x").allowed


async def test_used_bare_one_with_scopes_is_refused_because_it_has_no_key() -> None:
    limiter = RateLimiter("api", {"user": per_minute(1)})
    with pytest.raises(TypeError, match="keyed"):
        limiter.protect(test_used_bare_one_with_scopes_is_refused_because_it_has_no_key)
    with pytest.raises(TypeError, match="keyed"):
        limiter.guard()
    with pytest.raises(TypeError, match="keyed"):
        Pipeline(limiter, name="calls")


async def test_listeners_get_a_refusal_of_either_way(store: Any) -> None:
    heard: list[Notice] = []
    plain = RateLimiter("plain", per_minute(1), store=store)
    scoped = RateLimiter("scoped", {"user": per_minute(1)}, store=store)
    with listen(heard.append):
        for _ in range(2):
            await plain.acquire("x")
            await scoped.acquire({"user": "a"})
    assert [(type(notice), notice.name, getattr(notice, "key", None)) for notice in heard] == [
        (LimitReached, "plain", "x"),
        (LimitReached, "scoped", "user:a"),
    ]


async def test_describe_says_the_rates() -> None:
    limiter = RateLimiter("api", {"user": per_second(2), "ip": [per_second(3), per_minute(100, burst=5)]})
    assert limiter.describe() == (
        "RateLimiter 'api' (user: 2 per 1 s, burst 2, ip: 3 per 1 s, burst 3, ip: 100 per 60 s, burst 5)"
    )
