"""An async function where none is awaited is refused: when it is given, or when it first shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sdpatterns import CircuitBreaker, Idempotency, Retry
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.observability.sampling import Sampling

pytestmark = pytest.mark.anyio


async def slow(*_: Any) -> Any:
    """Never awaited."""


class Slow:
    async def __call__(self) -> float:
        return 0.5


TAKERS: list[tuple[str, Callable[[Any], Any]]] = [
    ("random", lambda given: Retry(on=OSError, random=given)),
    ("random", lambda given: CircuitBreaker("b", random=given)),
    ("random", lambda given: Sampling(random=given)),
    ("random", lambda given: RedisBackend("redis://127.0.0.1:1", random=given)),
    ("random", lambda given: RedisBackend.from_url("redis://127.0.0.1:1", random=given)),
    ("random", lambda given: SQLBackend("sqlite+aiosqlite:///cells.db", random=given)),
    ("fingerprint", lambda given: Idempotency("i", store=MemoryBackend().states, fingerprint=given)),
    ("scope", lambda given: Idempotency("i", store=MemoryBackend().states, scope=given)),
    ("owners", lambda given: Idempotency("i", store=MemoryBackend().states, owners=given)),
]


def test_an_async_function_and_what_is_none_are_refused_when_the_part_is_built() -> None:
    for field, build in TAKERS:
        for given in (slow, Slow()):
            with pytest.raises(TypeError, match=f"{field} must be a plain function, because it is not awaited"):
                build(given)
        with pytest.raises(ValueError, match=f"{field} must be a function, got 0.5"):
            build(0.5)


@pytest.mark.parametrize("field", ["fingerprint", "scope", "owners"])
async def test_one_that_gives_something_to_await_is_refused_when_it_first_does(field: str) -> None:
    once = Idempotency("i", store=MemoryBackend().states, **{field: lambda *_: slow()})  # type: ignore[arg-type]
    for run in (lambda: once.call("key", work), once.by("key").protect(work)):
        with pytest.raises(TypeError, match=f"{field} gave something to await, and is not awaited: make .* plain"):
            await run()


async def work() -> int:
    raise AssertionError("it ran")
