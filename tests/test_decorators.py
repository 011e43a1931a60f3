"""`@limiter`, `@Retry(...)`, `@breaker`: a part stands above a function, as `.protect` does, at both doors."""

from __future__ import annotations

import inspect
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
    per_hour,
)
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.errors import RateLimited


def policies() -> list[Any]:
    limiter = RateLimiter("api", per_hour(1000))
    return [
        Retry(on=OSError),
        Timeout(1.0),
        CircuitBreaker("b"),
        Bulkhead("b", concurrent_max=1),
        Fallback(0, on=OSError),
        limiter,
        limiter.by("key"),
        Quota("q", monthly(1000)),
        Pipeline(Retry(on=OSError), limiter, name="p"),
        Idempotency("once", store=MemoryBackend().states).by("key"),
    ]


@pytest.mark.anyio
async def test_every_part_is_a_decorator_that_keeps_the_function_as_it_is() -> None:
    async def add(one: int, two: int = 2) -> int:
        """The sum."""
        return one + two

    for part in policies():
        added = part(add)
        assert await added(1, two=3) == 4
        assert (added.__name__, added.__doc__) == ("add", "The sum.")
        assert inspect.signature(added) == inspect.signature(add)


def test_every_part_that_needs_no_loop_is_a_decorator_behind_the_blocking_door() -> None:
    def add(one: int, two: int = 2) -> int:
        return one + two

    parts = [part for part in policies() if not isinstance(part, Timeout | Idempotency) and part.runtime is None]
    assert len(parts) > 6
    for part in parts:
        assert blocking(part)(add)(1, two=3) == 4


@pytest.mark.anyio
async def test_a_part_above_a_method_gets_its_self() -> None:
    limiter = RateLimiter("api", per_hour(1000))

    class Quotes:
        @limiter
        async def fetch(self, symbol: str) -> str:
            return symbol

        @limiter
        def look(self, symbol: str) -> str:
            return symbol

    assert await Quotes().fetch("ACME") == "ACME"
    assert Quotes().look("ACME") == "ACME"


def test_what_is_no_function_cannot_be_decorated_and_says_so() -> None:
    for part in (Retry(on=OSError), blocking(Retry(on=OSError)), CircuitBreaker("b"), blocking(CircuitBreaker("b"))):
        for use in (part, part.protect):
            with pytest.raises(TypeError, match=r"decorates a function, got 3"):
                use(3)


def test_a_store_behind_the_blocking_door_is_no_decorator() -> None:
    assert not callable(blocking(MemoryBackend().states))


@pytest.mark.anyio
async def test_without_a_key_all_calls_of_a_limiter_count_together() -> None:
    for part in (RateLimiter("api", per_hour(4)), Quota("api", monthly(4))):

        @part
        async def one() -> int:
            return 1

        @part.protect
        async def two() -> int:
            return 2

        assert (await one(), await two()) == (1, 2)
        async with part.guard():
            pass
        assert await Pipeline(part, name="p")(one.__wrapped__)() == 1  # type: ignore[attr-defined]
        for use in (one, two):
            with pytest.raises(RateLimited):
                await use()
        assert (await part.acquire("someone")).allowed


def test_without_a_key_all_calls_count_together_behind_the_blocking_door() -> None:
    limiter: Any = blocking(RateLimiter("api", per_hour(2)))

    @limiter
    def one() -> int:
        return 1

    assert one() == 1
    with limiter.guard():
        pass
    with pytest.raises(RateLimited):
        one()


@pytest.mark.anyio
async def test_without_a_key_all_processes_count_together_in_a_store(valkey_url: str, postgres_url: str) -> None:
    from sdpatterns.backends.redis import RedisBackend
    from sdpatterns.backends.sqlalchemy import SQLBackend

    kinds: list[Any] = [(RateLimiter, per_hour(2)), (Quota, monthly(2))]
    for backend in (RedisBackend.from_url(valkey_url), SQLBackend.from_url(postgres_url)):
        async with backend:
            await backend.create()
            for kind, bound in kinds:
                here, there = (kind("unkeyed", bound, store=backend.states, on_outage="raise") for _ in range(2))
                async with here.guard(), there.guard():
                    pass
                with pytest.raises(RateLimited):
                    async with here.guard():
                        pass
                await here.reset("")


def test_a_limiter_by_scopes_and_a_quota_by_plans_still_need_a_key() -> None:
    parts: list[Any] = [
        RateLimiter("api", {"user": per_hour(4), "ip": per_hour(8)}),
        Quota("api", {"free": monthly(4)}, plan=lambda _key: "free"),
        Idempotency("once", store=MemoryBackend().states),
    ]
    for part in parts:
        for use in (
            lambda part=part: part(len),
            lambda part=part: part.protect(len),
            lambda part=part: Pipeline(part, name="p"),
        ):
            with pytest.raises(TypeError, match="is keyed: bind one with"):
                use()
