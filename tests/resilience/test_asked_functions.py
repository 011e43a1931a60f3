"""Functions of the user's that judge a call: plain, asked at once, and never in the way of a failure."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sdpatterns import Bulkhead, CircuitBreaker, Fallback, Quota, RateLimiter, Retry, listen, monthly, per_minute
from sdpatterns.blocking import blocking
from sdpatterns.core.notices import Notice, tell
from sdpatterns.errors import CircuitIsOpen

pytestmark = pytest.mark.anyio


async def asynchronous(*_: Any) -> bool:
    return True


class Asynchronous:
    async def __call__(self, *_: Any) -> bool:
        return True

    async def method(self, *_: Any) -> bool:
        return True


ASYNC: list[Any] = [
    asynchronous,
    Asynchronous(),
    Asynchronous().method,
    functools.partial(asynchronous, 1),
    functools.partial(functools.partial(Asynchronous(), 1), 2),
]
TAKERS: dict[str, Callable[[Any], Any]] = {
    "Retry on": lambda asked: Retry(on=asked),
    "Retry on_result": lambda asked: Retry(on_result=asked),
    "Retry retry_after": lambda asked: Retry(on=OSError, retry_after=asked),
    "Retry backoff": lambda asked: Retry(on=OSError, backoff=asked),
    "Fallback on": lambda asked: Fallback(0, on=asked),
    "Fallback on_result": lambda asked: Fallback(0, on_result=asked),
    "CircuitBreaker failures": lambda asked: CircuitBreaker("b", failures=asked),
    "CircuitBreaker on_result": lambda asked: CircuitBreaker("b", on_result=asked),
    "a key of a limiter": lambda asked: RateLimiter("a", per_minute(1)).by(asked),
    "a key of a breaker": lambda asked: CircuitBreaker("b").by(asked),
    "Quota plan": lambda asked: Quota("q", {"free": monthly(1)}, plan=asked),
    "a listener": lambda asked: listen(asked).__enter__(),
}


async def test_an_async_function_is_refused_when_the_part_is_built() -> None:
    for where, build in TAKERS.items():
        for asked in ASYNC:
            with pytest.raises(TypeError, match=r"plain function, because it is not awaited: .* is async"):
                pytest.fail(f"{where} took {build(asked)}")


def later(*_: Any) -> Awaitable[bool]:
    """A plain function that gives a coroutine."""
    return asynchronous()


async def fail() -> int:
    raise ConnectionError("reset")


async def seven() -> int:
    return 7


async def test_a_plain_function_that_gives_a_coroutine_is_refused_when_it_is_first_asked() -> None:
    asked: Any = later
    about_a_failure: list[Any] = [
        Retry(on=asked),
        Retry(on=OSError, retry_after=asked),
        Retry(on=OSError, backoff=asked),
        Fallback(0, on=asked),
        CircuitBreaker("b", failures=asked),
    ]
    for part in about_a_failure:
        with pytest.raises(TypeError, match="gave something to await, and is not awaited: make later plain") as raised:
            await part.call(fail)
        assert isinstance(raised.value.__cause__, ConnectionError)
    for part in (Retry(on_result=asked), Fallback(0, on_result=asked), CircuitBreaker("b", on_result=asked)):
        with pytest.raises(TypeError, match="gave something to await"):
            await part.call(seven)


async def test_a_key_that_is_a_coroutine_is_refused_and_never_used_as_a_key() -> None:
    keyed: Any = later
    parts = [
        RateLimiter("a", per_minute(1)),
        CircuitBreaker("b"),
        Bulkhead("b", concurrent_max=1),
        Quota("q", monthly(1)),
    ]
    for part in parts:
        with pytest.raises(TypeError, match="a key must be a string, got a coroutine, asynchronous"):
            await part.by(keyed).call(seven)
    quota = Quota("q", {"free": monthly(1)}, plan=keyed)
    with pytest.raises(TypeError, match="plan gave something to await"):
        await quota.acquire("x")


async def test_a_listener_that_gives_a_coroutine_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    hears: Any = later
    with listen(hears):
        tell(Notice(name="x"))
    assert "a listener gave a coroutine on Notice" in caplog.text


def broken(*_: Any) -> Any:
    raise KeyError("Retry-After")


async def test_a_function_that_fails_on_a_failure_never_hides_it(caplog: pytest.LogCaptureFixture) -> None:
    parts: list[Any] = [
        Retry(on=broken),
        Retry(on=ConnectionError, retry_after=broken),
        Retry(on=ConnectionError, backoff=broken, max_s=0.1),
        Fallback(0, on=broken),
        CircuitBreaker("b", failures=broken),
    ]
    caplog.set_level(logging.ERROR, "sdpatterns")
    for part in parts:
        caplog.clear()
        with pytest.raises(ConnectionError, match="reset") as raised:
            await part.call(fail)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None
        assert "Retry-After" in caplog.text
        with pytest.raises(ConnectionError, match="reset"), listen(broken):
            await part.call(fail)


async def test_a_failure_that_cannot_be_judged_counts_for_the_breaker_and_is_not_repeated() -> None:
    breaker = CircuitBreaker("b", consecutive=1, failures=broken)
    with pytest.raises(ConnectionError):
        await breaker.call(fail)
    with pytest.raises(CircuitIsOpen):
        await breaker.call(fail)
    calls = []

    async def counted() -> None:
        calls.append(1)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await Retry(on=broken).call(counted)
    assert len(calls) == 1


HINTS: list[Any] = [
    broken,
    lambda _error: float("Wed, 21 Oct 2015 07:28:00 GMT"),
    lambda _error: "soon",
    lambda _error: float("nan"),
    lambda _error: -5,
    lambda error: error.response.headers,
    lambda: 1,
]


async def test_a_hint_that_fails_is_no_hint_and_the_call_is_repeated() -> None:
    for hint in HINTS:
        calls = []

        async def counted(calls: list[int] = calls) -> None:
            calls.append(1)
            raise ConnectionError("reset")

        with pytest.raises(ConnectionError, match="reset"):
            await Retry(on=ConnectionError, retry_after=hint, base_s=0.01, max_s=0.01).call(counted)
        assert len(calls) == 3


async def test_a_hint_of_the_exception_itself_that_fails_is_no_hint() -> None:
    class Odd(ConnectionError):
        @property
        def retry_after_s(self) -> float:
            raise RuntimeError

    async def odd() -> None:
        raise Odd

    with pytest.raises(Odd):
        await Retry(on=Odd, base_s=0.01).call(odd)


async def test_a_result_that_cannot_be_judged_counts_neither_way_and_the_error_arrives() -> None:
    breaker = CircuitBreaker("b", consecutive=1, on_result=broken)
    for part in (breaker, breaker, Retry(on_result=broken), Fallback(0, on_result=broken)):
        with pytest.raises(KeyError):
            await part.call(seven)
    assert breaker.snapshot().calls == 0


def test_a_broken_function_hides_nothing_behind_the_blocking_door() -> None:
    def plain() -> None:
        raise ConnectionError("reset")

    parts: list[Any] = [
        Retry(on=broken),
        Retry(on=OSError, retry_after=broken, base_s=0),
        CircuitBreaker("b", failures=broken),
    ]
    for part in parts:
        with pytest.raises(ConnectionError, match="reset"):
            blocking(part)(plain)()
