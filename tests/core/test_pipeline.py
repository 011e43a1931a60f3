"""A pipeline: order, names, and the orders it warns of."""

from __future__ import annotations

from typing import Any

import pytest

from sdpatterns import Bulkhead, CircuitBreaker, DeadlineExceeded, Pipeline, Retry, Timeout
from sdpatterns.core.guard import Guard
from sdpatterns.core.policy import AsyncCall, Policy
from sdpatterns.core.runtime import ASYNCIO, BLOCKING, Runtime

pytestmark = pytest.mark.anyio


class Noting(Policy):
    """Notes the call on its way in and out."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name = name
        self.seen = seen

    def wrap(self, call: AsyncCall, key: Any = None, /) -> AsyncCall:
        async def noted(*args: Any, **kwargs: Any) -> Any:
            self.seen.append(f"+{self.name}")
            try:
                return await call(*args, **kwargs)
            finally:
                self.seen.append(f"-{self.name}")

        return noted


class PerKey(Guard):
    """Means nothing without a key."""

    name = "per-key"
    needs_key = True

    async def enter(self, key: str, /) -> str:
        return key

    def leave(self, *_: Any) -> None:
        return None


class Stored(PerKey):
    needs_key = False

    def __init__(self, needed: Runtime | None) -> None:
        self._needed = needed

    @property
    def runtime(self) -> Runtime | None:
        return self._needed


class Idempotent(Stored):
    traits = frozenset({"absorbs_repeats"})


async def answer(number: int = 1) -> int:
    return number


def retry(**settings: Any) -> Retry:
    return Retry(**{"on": (ConnectionError, DeadlineExceeded), "idempotent": True, **settings})


async def test_the_first_part_is_the_outermost() -> None:
    seen: list[str] = []
    pipeline = Pipeline(Noting("a", seen), Pipeline(Noting("b", seen), name="inner"), Noting("c", seen), name="p")
    assert await pipeline.protect(answer)(7) == 7
    assert await pipeline.call(answer, number=8) == 8
    assert seen == ["+a", "+b", "+c", "-c", "-b", "-a"] * 2


def test_nameless_parts_take_its_name() -> None:
    own = Retry(on=OSError, name="own")
    pipeline = Pipeline(own, Retry(on=OSError), Timeout(1.0), CircuitBreaker("psp"), name="quotes")
    assert [part.name for part in pipeline.parts] == ["own", "quotes", "quotes", "psp"]


def test_it_needs_a_name_and_a_part() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        Pipeline(name="empty")
    with pytest.raises(ValueError, match="Pipeline needs a name"):
        Pipeline(Timeout(1.0), name="")


def test_a_keyed_part_without_a_key_is_refused_when_it_is_built() -> None:
    with pytest.raises(TypeError, match="by"):
        Pipeline(PerKey(), name="p")
    assert Pipeline(PerKey().by("tenant-7"), name="p").explain() == "p:\n  1. PerKey by key"


def test_it_stands_on_a_plain_function_where_no_part_can_wait() -> None:
    plain = Pipeline(CircuitBreaker("a"), Bulkhead("b", concurrent_max=1), name="p").protect(lambda: 7)
    assert plain() == 7
    with pytest.raises(TypeError, match="blocking"):
        Pipeline(CircuitBreaker("a"), retry(), name="p").protect(lambda: 7)


def test_it_needs_what_its_parts_need() -> None:
    assert Pipeline(Stored(None), Stored(BLOCKING), name="p").runtime is BLOCKING
    assert Pipeline(Stored(None), name="p").runtime is None
    with pytest.raises(TypeError, match="asyncio and blocking"):
        _ = Pipeline(Stored(ASYNCIO), Stored(BLOCKING), name="p").runtime
    assert "interrupted" in str(Pipeline(retry(), Timeout(1.0), name="p").needs_loop())
    assert Pipeline(retry(), name="p").needs_loop() is None


def test_it_explains_itself() -> None:
    pipeline = Pipeline(
        Retry(on=ConnectionError), CircuitBreaker("psp", consecutive=5).by("eu-1"), Timeout(2.0), name="quotes"
    )
    assert pipeline.explain().splitlines() == [
        "quotes:",
        "  1. Retry: 3 attempts, full_jitter 0.1-10 s",
        "  2. CircuitBreaker 'psp': open for 30 s after 5 failures in a row by key",
        "  3. Timeout: 2 s",
        "  warning: " + pipeline.warnings()[0],
        "  warning: Retry stands outside Timeout, but does not repeat on DeadlineExceeded",
    ]
    outer = Pipeline(pipeline, name="outer").explain()
    assert outer.splitlines()[1].startswith("  1. Retry: 3 attempts, full_jitter 0.1-10 s > CircuitBreaker 'psp'")


BREAKER = CircuitBreaker("psp")
SLOTS = Bulkhead("slots", concurrent_max=1)
QUEUE = Bulkhead("queue", concurrent_max=1, queue_max=1)


@pytest.mark.parametrize(
    ("parts", "warning"),
    [
        ([Retry(on=OSError)], "idempotent"),
        ([retry(on=ConnectionError), Timeout(1.0)], "does not repeat on DeadlineExceeded"),
        ([retry(), Timeout(2.0), retry(), Timeout(1.0)], "their attempts multiply"),
        ([Timeout(1.0), Timeout(1.0)], "Timeout of 1 s inside one of 1 s never strikes"),
        ([Timeout(5.0), retry()], "one attempt that hangs"),
        ([Timeout(5.0), Timeout(1.0), retry()], "one attempt that hangs"),
        ([Timeout(1.0), BREAKER], "never opens it"),
        ([BREAKER, retry()], "counts all attempts as one call"),
        ([SLOTS, retry()], "holds the slot"),
        ([QUEUE, Timeout(1.0)], "without a bound on the wait"),
        ([BREAKER, BREAKER], "CircuitBreaker 'psp' is given more than once"),
        ([SLOTS.by("a"), Pipeline(SLOTS, name="inner")], "Bulkhead 'slots' is given more than once"),
        ([Pipeline(Timeout(1.0), name="inner"), BREAKER], "never opens it"),
        ([Timeout(1.0), BREAKER.by("eu-1")], "never opens it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_warns_of_an_order_that_defeats_itself(parts: list[Policy], warning: str) -> None:
    warnings = Pipeline(*parts, name="p").warnings()
    assert any(warning in text for text in warnings), warnings


@pytest.mark.parametrize(
    "parts",
    [
        [retry(), BREAKER, Timeout(2.0)],
        [Timeout(10.0), retry(), BREAKER, SLOTS, Timeout(2.0)],
        [Retry(on=OSError), Idempotent(None)],
        [retry(on=lambda error: True), Timeout(1.0)],
        [retry(on=OSError), Timeout(1.0)],
        [Timeout(1.0), QUEUE],
        [Bulkhead("queue", concurrent_max=1, queue_max=1, max_wait_s=1.0)],
        [retry(), CircuitBreaker("a"), CircuitBreaker("b")],
    ],
)
def test_it_has_no_doubt_about_a_sound_order(parts: list[Policy]) -> None:
    assert Pipeline(*parts, name="p").warnings() == []
