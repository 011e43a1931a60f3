"""A part with state is never doubled: copies are the part itself, and another process is told to build its own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import cloudpickle
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
    Window,
    monthly,
    per_minute,
)
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking


def parts() -> list[Any]:
    return [
        CircuitBreaker("b"),
        Bulkhead("b", concurrent_max=1),
        RateLimiter("a", per_minute(1)),
        RateLimiter("a", per_minute(1), store=MemoryBackend().states),
        Quota("q", monthly(1)),
        Idempotency("i", store=MemoryBackend().states),
        MemoryBackend(),
        RedisBackend("redis://127.0.0.1:1"),
        SQLBackend("sqlite+aiosqlite:///cells.db"),
    ]


def test_a_copy_of_a_part_with_state_is_the_part_itself() -> None:
    for part in parts():
        assert copy.copy(part) is part
        assert copy.deepcopy(part) is part
        assert copy.deepcopy({"settings": [part]})["settings"][0] is part


def test_a_copied_pipeline_shares_the_state_of_its_parts() -> None:
    limiter = RateLimiter("a", per_minute(1))
    pipeline = Pipeline(Retry(on=OSError), limiter, name="p")
    twin = copy.deepcopy(pipeline)
    assert twin.parts[1] is limiter
    assert copy.deepcopy(limiter.by("x")).part is limiter


def test_a_part_with_state_is_not_pickled_and_says_what_to_do() -> None:
    for part in [*parts(), Pipeline(CircuitBreaker("b"), name="p")]:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="cannot be sent to another process: build it there, "):
                pickle.dumps(part, protocol)
        with pytest.raises(TypeError, match="cannot be sent to another process: build it there, "):
            cloudpickle.dumps(part)


@Timeout(2.0)
async def imported() -> int:
    return 7


@CircuitBreaker("plain")
def imported_plain() -> int:
    return 7


def test_a_protected_function_of_a_module_is_sent_by_its_name() -> None:
    for function in (imported, imported_plain):
        assert cloudpickle.loads(cloudpickle.dumps(function)) is function
        assert pickle.loads(pickle.dumps(function)) is function


def test_a_protected_function_that_is_sent_by_value_is_refused_with_a_reason() -> None:
    async def local() -> int:
        return 7

    def local_plain() -> int:
        return 7

    once = Idempotency("i", store=MemoryBackend().states).by("key")
    over = [Retry(on=OSError), Timeout(2.0), Bulkhead("b", concurrent_max=1), RateLimiter("a", per_minute(1)), once]
    protected: list[Any] = [part(local) for part in over]
    protected += [CircuitBreaker("b")(local_plain), blocking(Retry(on=OSError))(local_plain)]
    for function in protected:
        with pytest.raises(TypeError, match=r"protected by .* and cannot be sent to another process by value: define"):
            cloudpickle.dumps(function)


@pytest.mark.anyio
async def test_parts_without_state_and_settings_are_sent() -> None:
    for part in (Retry(on=OSError), Timeout(2.0), Fallback(0.0, on=OSError), Pipeline(Timeout(2.0), name="p")):
        sent: Any = pickle.loads(cloudpickle.dumps(part))
        assert repr(sent) == repr(part)
        assert await sent(imported)() == 7
    for setting in (per_minute(5), Window.calls(10), monthly(5)):
        assert pickle.loads(cloudpickle.dumps(setting)) == setting
    assert repr(pickle.loads(cloudpickle.dumps(blocking(Retry(on=OSError))))).startswith("blocking(Retry")
