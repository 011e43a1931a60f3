"""What people get wrong at first is answered with the field and the remedy, before anything runs."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import types
from collections.abc import Callable, Generator
from typing import Any

import pytest

import sdpatterns
from sdpatterns import (
    Bulkhead,
    CircuitBreaker,
    Fallback,
    Idempotency,
    Pipeline,
    Quota,
    Rate,
    RateLimiter,
    Retry,
    Timeout,
    Window,
    monthly,
    per_minute,
)
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.spelling import SYNONYMS
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware

BACKEND: Any = MemoryBackend()
RATE: Any = per_minute(5)
NAME: Any = "a"


async def nothing() -> None: ...


def plain() -> int:
    raise AssertionError("it ran")


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Retry(on=OSError, random=NAME), "random must be a function, got 'a'"),
    (lambda: CircuitBreaker("b", random=NAME), "random must be a function, got 'a'"),
    (lambda: RateLimitMiddleware(BACKEND, RateLimiter("a", RATE), key=NAME), "key must be a function, got 'a'"),
    (lambda: RateLimitMiddleware(BACKEND, RateLimiter("a", RATE), cost=NAME), "cost must be a function, got 'a'"),
    (lambda: RateLimiter("a", RATE, store=BACKEND), "store must be a StateStore, such as backend.states; got Mem"),
    (lambda: Quota("a", monthly(5), store=BACKEND), "store must be a StateStore, such as backend.states; got Mem"),
    (lambda: Idempotency("x", store=BACKEND), "store must be a StateStore, such as backend.states; got Mem"),
    (lambda: Idempotency("x", store=NAME), "store must be a StateStore, such as backend.states; got str"),
    (lambda: RateLimiter("a", RATE, store=NAME), "store must be a StateStore, such as backend.states; got str"),
    (lambda: RateLimiter(RATE, NAME), "RateLimiter takes its name first, a string, got Rate"),
    (lambda: Quota(RATE, NAME), "Quota takes its name first, a string, got Rate"),
    (lambda: Bulkhead(RATE, concurrent_max=1), "Bulkhead takes its name first, a string, got Rate"),
    (lambda: Quota("q", RATE), "plans must be made by daily(n), weekly(n), monthly(n) or yearly(n), got Rate"),
    (lambda: Quota("q", NAME), "plans must be made by daily(n), weekly(n), monthly(n) or yearly(n), got str"),
    (
        lambda: Pipeline(Timeout(1.0), nothing, name="p"),
        "one by one, such as Retry(...): part 2 is nothing",
    ),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (lambda: CircuitBreaker("b", open_s=NAME), "open_s must be a finite number of seconds, above 0, got 'a'"),
    (lambda: CircuitBreaker("b", open_growth=NAME), "open_growth must be a number from 1 to 100, got 'a'"),
    (lambda: CircuitBreaker("b", open_jitter=NAME), "open_jitter must be a number from 0 to 1, got 'a'"),
    (lambda: RateLimiter("a", RATE, on_outage=NAME), "on_outage must be one of 'allow', 'refuse', 'raise', got 'a'"),
    (lambda: Quota("a", monthly(1), on_outage=NAME), "on_outage must be one of 'allow', 'refuse', 'raise', got 'a'"),
    (lambda: Retry(on=OSError, backoff=NAME), "backoff must be one of '"),
    (lambda: RateLimiter("a", RATE, algorithm=nothing), "algorithm must be an Algorithm, such as GCRA(); got nothing"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (lambda: Retry(on=OSError).protect(plain), "and plain is a plain def: make it async"),
]

SPELLINGS = {
    "Retry(3)": "Retry takes its settings by name, got 3: Retry(on=ConnectionError, attempts_max=3)",
    "Retry(plain)": "Retry needs its settings before it decorates plain: write @Retry(on=ConnectionError) above it",
    "Retry(max_attempts=3)": "Retry has no setting 'max_attempts': did you mean attempts_max=3?",
    "Retry(attempts=3)": "Retry has no setting 'attempts': did you mean attempts_max=3?",
    "Retry(max_retries=3)": "did you mean attempts_max=4 (the first attempt counts too)?",
    "Retry(on=OSError, wait_max=3)": "Retry has no setting 'wait_max': did you mean max_s=3?",
    "Retry(banana=3)": "Retry has no setting 'banana'; it has on, attempts_max, backoff,",
    "Retry(attempts_max=3)": "on (or on_result) must say what to repeat, such as on=ConnectionError; got neither",
    "CircuitBreaker('b', fail_max=5)": "CircuitBreaker has no setting 'fail_max': did you mean consecutive=5?",
    "CircuitBreaker('b', reset_timeout=60)": "did you mean open_s=60?",
    "CircuitBreaker('b', failure_rat=0.5)": "did you mean failure_rate=0.5?",
    "CircuitBreaker(name='b')": 'CircuitBreaker takes its name first, without a keyword: CircuitBreaker("b")',
    "CircuitBreaker()": 'CircuitBreaker needs name: CircuitBreaker("orders")',
    "Timeout(seconds=2)": "Timeout has no setting 'seconds': did you mean timeout_s=2?",
    "Timeout(timeout=2)": "Timeout has no setting 'timeout': did you mean timeout_s=2?",
    "Idempotency('x')": 'Idempotency needs store: Idempotency("x", store=MemoryBackend().states)',
    "Idempotency('x', store=STATES, ttl=60)": "Idempotency has no setting 'ttl': did you mean keep_s=60?",
    "Pipeline([Timeout(1)])": 'name="orders"), with the parts one by one and not in a list',
    "Pipeline([Timeout(1)], name='p')": "Pipeline takes policies, one by one, such as Retry(...): part 1 is list",
    "Pipeline(Timeout(1))": 'Pipeline needs name: Pipeline(Retry(on=ConnectionError), Timeout(2.0), name="orders")',
    "Bulkhead('b', 10)": 'Bulkhead takes its settings by name, got 10: Bulkhead("b", concurrent_max=10)',
    "Bulkhead('b', max_concurrent=10)": "did you mean concurrent_max=10?",
    "Fallback(default=0, on=OSError)": "give alternatives first, without a keyword: Fallback(0.0, on=ConnectionError)",
    "Window(100)": "Window takes its settings by name, got 100: Window(calls_max=100)",
    "per_minute('5')": "count must be a whole number from 1 to 1000000000, got '5': read a text with Rate.parse(",
    "per_minute(5, 3)": "per_minute takes its settings by name, got 3: per_minute(5)",
    "per_minute(5, bursts=3)": "per_minute has no setting 'bursts': did you mean burst=3?",
    "Rate('5/minute')": "read a text with Rate.parse('5/minute')",
    "Rate(5)": "Rate needs period_s: Rate(5, 60.0)",
    "Rate(5, 'minute')": "period_s must be above 0 and at most 366 days, in seconds, got 'minute'",
    "Rate(5, None)": "period_s must be above 0 and at most 366 days, in seconds, got None",
    "RateLimiter('a', '5/minute')": "rates must be a Rate or several of them, got '5/minute': read a text with",
    "RateLimiter('a', {'ip': '5/minute'})": "got '5/minute': read a text with Rate.parse('5/minute')",
    "RateLimiter('a', 5)": "rates must be a Rate or several of them, got 5: make one with per_minute(n)",
    "RateLimiter('a', limit=5)": "RateLimiter has no setting 'limit': did you mean rates=per_minute(100)?",
    "RateLimiter('a', RATE, storage='secret')": "did you mean store=MemoryBackend().states?",
    "Quota('q', monthly(5), timezone='x')": "Quota has no setting 'timezone': did you mean zone=...?",
    "Quota('q')": 'Quota needs plans: Quota("q", monthly(10_000))',
    "monthly()": "monthly needs count: monthly(100)",
}
"""How people who know another library write it, and the answer."""
STATES = BACKEND.states


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_answered_with_its_field(mistake: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        mistake()
    assert message in str(raised.value)


def test_a_wrong_spelling_is_answered_with_the_right_one() -> None:
    for written, answer in SPELLINGS.items():
        with pytest.raises((TypeError, ValueError)) as raised:
            eval(written)
        assert answer in str(raised.value), written
        assert "secret" not in str(raised.value)


def test_a_class_of_ones_own_answers_in_its_own_name() -> None:
    class Patient(Retry):
        def __init__(self, *, rounds: int) -> None:
            super().__init__(on=OSError, attempts_max=rounds)

    assert Patient(rounds=2).describe().startswith("Retry: 2 attempts")
    wrong: Any = Patient
    with pytest.raises(TypeError, match=r"Patient has no setting 'round': did you mean rounds=2\?"):
        wrong(round=2)

    class Odd(Retry):
        def __init__(self) -> None:
            raise TypeError("it is mine")

    with pytest.raises(TypeError, match=r"^it is mine$"):
        Odd()


def test_every_translation_leads_to_a_setting_that_exists() -> None:
    kinds = (
        Retry,
        CircuitBreaker,
        Timeout,
        Bulkhead,
        Fallback,
        RateLimiter,
        Quota,
        Idempotency,
        Pipeline,
        Window,
        Rate,
    )
    there = {name for kind in kinds for name in inspect.signature(kind).parameters}
    assert {meant for several in SYNONYMS.values() for meant in several} <= there


def test_a_constructor_shows_its_own_signature() -> None:
    assert list(inspect.signature(Timeout).parameters) == ["timeout_s", "name"]


GIVEN: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: RateLimiter("a", RATE), "limiter.guard():  # or guard(key)", "RateLimiter"),
    (lambda: Quota("q", monthly(5)), "quota.guard():", "Quota"),
    (lambda: CircuitBreaker("b"), "breaker.guard():", "CircuitBreaker"),
    (lambda: Bulkhead("b", concurrent_max=1), "bulkhead.guard():", "Bulkhead"),
    (lambda: RateLimiter("a", RATE).by("key"), "guard.guard():", "KeyedGuard"),
    (lambda: Retry(on=OSError), "attempt in retry: with attempt: ...; or decorate a function with @retry", "Retry"),
    (lambda: Fallback(0.0, on=OSError), "fallback.call(function)", "Fallback"),
    (lambda: Pipeline(Retry(on=OSError), name="p"), "decorate a function with @pipeline, or write", "Pipeline"),
    (lambda: Idempotency("i", store=BACKEND.states), "idempotency.call(function)", "Idempotency"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("make", "said", "kind"), GIVEN, ids=[kind for _, _, kind in GIVEN])
async def test_a_part_entered_by_itself_says_what_is_entered_instead(
    make: Callable[[], Any], said: str, kind: str
) -> None:
    part = make()
    with pytest.raises(TypeError, match=re.escape(said)) as refused:
        async with part:
            raise AssertionError("it ran")
    assert str(refused.value).startswith(kind)
    with pytest.raises(TypeError, match=re.escape(said)), part:
        raise AssertionError("it ran")


@pytest.mark.parametrize(("make", "said", "kind"), GIVEN, ids=[kind for _, _, kind in GIVEN])
def test_without_a_loop_it_says_with(make: Callable[[], Any], said: str, kind: str) -> None:
    part: Any = blocking(make())
    with pytest.raises(TypeError, match=re.escape(said)) as refused, part:
        raise AssertionError("it ran")
    assert "async" not in str(refused.value).removeprefix(kind)
    assert "await" not in str(refused.value)


def test_a_plain_with_on_a_guard_says_how_to_enter_it() -> None:
    guard: Any = RateLimiter("a", RATE).guard("key")
    with pytest.raises(TypeError, match=re.escape("by `async with`, or by `with` behind blocking(...)")), guard:
        pass
    with blocking(RateLimiter("a", RATE)).guard("key") as decision:
        assert decision.allowed


POLICIES: list[Any] = [
    Retry(on=OSError),
    Timeout(1.0),
    CircuitBreaker("b"),
    Bulkhead("b", concurrent_max=1),
    Fallback(nothing, on=OSError),
    Pipeline(Timeout(1.0), name="p"),
    RateLimiter("a", RATE).by("key"),
]


@pytest.mark.anyio
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_a_plain_function_is_refused_before_it_runs_where_it_says_so(policy: Any) -> None:
    with pytest.raises(TypeError, match="plain gives nothing to await: make it async"):
        await policy.call(plain)
    with pytest.raises(TypeError, match="<lambda> gave int, which cannot be awaited: make it async"):
        await policy.call(lambda: 1)


@pytest.mark.anyio
async def test_a_plain_function_is_refused_by_idempotency_too() -> None:
    once: Any = Idempotency("x", store=MemoryBackend().states)
    with pytest.raises(TypeError, match="plain gives nothing to await"):
        await once.call("key", plain)
    with pytest.raises(TypeError, match="<lambda> gave int"):
        await once.call("key", lambda: 1)


async def seven(by: int = 0) -> int:
    return 7 + by


class Seven:
    async def __call__(self) -> int:
        return 7

    async def method(self) -> int:
        return 7


@types.coroutine
def generated() -> Generator[Any, Any, int]:
    yield from ()
    return 7


def untyped():  # type: ignore[no-untyped-def]
    return seven()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "call",
    [seven, functools.partial(seven, 0), Seven(), Seven().method, generated, untyped, lambda: seven(0)],
    ids=["async", "partial", "object", "method", "coroutine", "untyped", "lambda"],
)
async def test_whatever_gives_something_to_await_runs(call: Any) -> None:
    assert await Retry(on=OSError).call(call) == 7
    assert await Idempotency("x", store=MemoryBackend().states).call("key", call) == 7


def test_the_names_of_the_front_door_are_a_literal_that_type_checkers_can_read() -> None:
    tree = ast.parse(inspect.getsource(sdpatterns))
    (listed,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    ]
    assert sorted(ast.literal_eval(listed)) == sorted([*sdpatterns._HOMES, "__version__"])
