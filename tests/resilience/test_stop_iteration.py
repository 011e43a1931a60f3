"""StopIteration, which no coroutine lets through, arrives as what it is and can be named in `on`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sdpatterns import (
    Bulkhead,
    CircuitBreaker,
    Fallback,
    Notice,
    Pipeline,
    Quota,
    RateLimiter,
    Retry,
    listen,
    monthly,
    per_minute,
)
from sdpatterns.blocking import blocking
from sdpatterns.errors import CircuitIsOpen

STOPS: list[Exception] = [StopIteration(3), StopAsyncIteration(3), type("Own", (StopIteration,), {})(3)]


def parts() -> list[Any]:
    breaker, bulkhead = CircuitBreaker("b", consecutive=1_000), Bulkhead("b", concurrent_max=1)
    return [
        breaker,
        bulkhead,
        RateLimiter("a", per_minute(100)),
        Quota("q", monthly(100)),
        Fallback(0, on=OSError),
        Pipeline(breaker, bulkhead, name="p"),
    ]


def test_it_arrives_bare_from_a_plain_function_at_both_doors() -> None:
    for part in parts():
        for stop in STOPS:

            def end(stop: Exception = stop) -> None:
                raise stop

            calls: list[Callable[[], Any]] = [
                part(end),
                blocking(part)(end),
                lambda part=part, end=end: blocking(part).call(end),
            ]
            for call in calls:
                with pytest.raises(type(stop)) as raised:
                    call()
                assert raised.value is stop
                assert raised.value.__context__ is None


def test_a_retry_and_a_fallback_that_name_it_meet_it() -> None:
    calls = []

    def end() -> int:
        calls.append(1)
        raise StopIteration

    heard: list[Notice] = []
    asked: list[Exception] = []
    retries: list[Any] = [
        Retry(on=StopIteration, base_s=0),
        Retry(on=lambda error: bool(asked.append(error)) or isinstance(error, StopIteration), base_s=0),
    ]
    for retry in retries:
        calls.clear()
        with pytest.raises(StopIteration), listen(heard.append):
            blocking(retry)(end)()
        assert len(calls) == 3
    assert type(asked[0]) is StopIteration
    assert {getattr(notice, "error", "") for notice in heard} == {"StopIteration"}
    assert Fallback(7, on=StopIteration)(end)() == 7
    with pytest.raises(StopIteration):
        Fallback(end, on=OSError)(_refused)()


def _refused() -> int:
    raise OSError


def test_a_breaker_that_names_it_counts_it() -> None:
    breaker = CircuitBreaker("b", failures=StopIteration, consecutive=1)

    @breaker
    def end() -> None:
        raise StopIteration

    with pytest.raises(StopIteration):
        end()
    with pytest.raises(CircuitIsOpen):
        end()


def test_an_attempt_in_a_block_meets_it_too() -> None:
    seen = []
    for attempt in blocking(Retry(on=StopIteration, base_s=0)):
        with attempt:
            seen.append(attempt.number)
            if len(seen) < 3:
                raise StopIteration
    assert seen == [1, 2, 3]


@pytest.mark.anyio
async def test_from_an_async_function_it_is_what_python_makes_of_it_and_can_be_named() -> None:
    calls = []

    async def end() -> int:
        calls.append(1)
        raise StopIteration(3)

    async def end_async() -> int:
        raise StopAsyncIteration(3)

    with pytest.raises(RuntimeError, match="coroutine raised StopIteration") as raised:
        await Retry(on=StopIteration, base_s=0.01).call(end)
    assert type(raised.value) is RuntimeError
    assert len(calls) == 3
    assert await Fallback(7, on=StopIteration).call(end) == 7
    assert await Fallback(7, on=StopAsyncIteration).call(end_async) == 7
    for part in parts():
        with pytest.raises(StopAsyncIteration):
            await part.call(end_async)


def test_a_runtime_error_of_ones_own_is_left_as_it_is() -> None:
    own = RuntimeError("mine")
    own.__cause__ = StopIteration()

    def end() -> None:
        raise own

    for part in parts():
        with pytest.raises(RuntimeError, match="mine") as raised:
            part(end)()
        assert raised.value is own
    calls = []

    def counted() -> None:
        calls.append(1)
        raise own

    with pytest.raises(RuntimeError, match="mine"):
        blocking(Retry(on=StopIteration))(counted)()
    assert len(calls) == 1
