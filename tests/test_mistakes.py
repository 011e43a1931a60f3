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
    RateLimiter,
    Retry,
    Timeout,
    monthly,
    per_minute,
)
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking

BACKEND: Any = MemoryBackend()
RATE: Any = per_minute(5)
NAME: Any = "a"


async def nothing() -> None: ...


def plain() -> int:
    raise AssertionError("it ran")


MISTAKES: list[tuple[Callable[[], Any], str]] = [
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
    (lambda: Pipeline(Timeout(1.0), nothing, name="p"), "Pipeline takes policies, such as Retry(...): part 2 is noth"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (lambda: CircuitBreaker("b", open_s=NAME), "open_s must be a finite number of seconds, above 0, got 'a'"),
    (lambda: CircuitBreaker("b", open_growth=NAME), "open_growth must be a number from 1 to 100, got 'a'"),
    (lambda: CircuitBreaker("b", open_jitter=NAME), "open_jitter must be a number from 0 to 1, got 'a'"),
    (lambda: RateLimiter("a", RATE, on_outage=NAME), "on_outage must be one of 'allow', 'refuse', 'raise', got 'a'"),
    (lambda: Quota("a", monthly(1), on_outage=NAME), "on_outage must be one of 'allow', 'refuse', 'raise', got 'a'"),
    (lambda: Retry(on=OSError, backoff=NAME), "backoff must be one of '"),
    (lambda: RateLimiter("a", RATE, algorithm=nothing), "algorithm must be GCRA() or another of its kind, got nothing"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (lambda: Retry(on=OSError).protect(plain), "and plain is a plain def: make it async"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_answered_with_its_field(mistake: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        mistake()
    assert message in str(raised.value)


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
