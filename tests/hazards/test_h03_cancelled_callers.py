"""Hazard 3: callers that cancel. They open nothing, and a cancelled probe gives its place back at once."""

from __future__ import annotations

import asyncio

import pytest

from sdpatterns import CircuitBreaker
from tests.loops import on_virtual_asyncio

pytestmark = [
    pytest.mark.anyio,
    on_virtual_asyncio,
]


@pytest.mark.parametrize("key", ["", "eu-1"])
async def test_ten_cancelled_callers_open_nothing(key: str) -> None:
    breaker = CircuitBreaker("healthy", consecutive=5, failure_rate=0.5, calls_min=5)
    part = breaker.by(key) if key else breaker
    calls = [asyncio.ensure_future(part.call(asyncio.sleep, 60.0)) for _ in range(10)]
    await asyncio.sleep(1.0)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert all(call.cancelled() for call in calls)
    snapshot = breaker.snapshot(key)
    assert (snapshot.state.value, snapshot.calls, snapshot.failures) == ("closed", 0, 0)


@pytest.mark.parametrize("key", ["", "eu-1"])
async def test_a_cancelled_probe_gives_its_place_back(key: str) -> None:
    breaker = CircuitBreaker("sick", consecutive=1, open_s=30.0)
    part = breaker.by(key) if key else breaker
    with pytest.raises(ConnectionError):
        await part.call(_fail)
    await asyncio.sleep(30.0)
    for _ in range(3):
        probe = asyncio.ensure_future(part.call(asyncio.sleep, 60.0))
        await asyncio.sleep(1.0)
        probe.cancel()
        await asyncio.wait([probe])
        assert breaker.snapshot(key).state.value == "half_open"
    await part.call(asyncio.sleep, 0)
    assert breaker.snapshot(key).state.value == "closed"


async def _fail() -> None:
    raise ConnectionError
