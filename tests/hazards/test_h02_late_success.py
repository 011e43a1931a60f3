"""Hazard 2: a success begun before the trip ends after it. It closes nothing."""

from __future__ import annotations

import asyncio

import pytest

from sdpatterns import CircuitBreaker
from sdpatterns.errors import CircuitIsOpen
from tests.loops import on_virtual_asyncio

pytestmark = [
    pytest.mark.anyio,
    on_virtual_asyncio,
]


async def fail() -> None:
    raise ConnectionError


@pytest.mark.parametrize("key", ["", "eu-1"])
@pytest.mark.parametrize("lasts_s", [5.0, 35.0])
async def test_a_success_from_before_the_trip_closes_nothing(key: str, lasts_s: float) -> None:
    """It ends while the circuit is open, or while a probe is out."""
    breaker = CircuitBreaker("sick", consecutive=1, open_s=30.0)
    part = breaker.by(key) if key else breaker
    early = asyncio.ensure_future(part.call(asyncio.sleep, lasts_s))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        await part.call(fail)
    await asyncio.sleep(31.0)
    probe = asyncio.ensure_future(part.call(asyncio.sleep, 100.0))
    await early
    await asyncio.sleep(0)
    assert breaker.snapshot(key).state.value == "half_open"
    with pytest.raises(CircuitIsOpen):
        await part.call(fail)
    probe.cancel()


async def test_a_failure_from_before_the_recovery_opens_nothing() -> None:
    breaker = CircuitBreaker("sick", consecutive=1, open_s=30.0)

    async def fail_late() -> None:
        await asyncio.sleep(40.0)
        raise ConnectionError

    late = asyncio.ensure_future(breaker.call(fail_late))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        await breaker.call(fail)
    await asyncio.sleep(31.0)
    await breaker.call(asyncio.sleep, 0)
    assert breaker.state.value == "closed"
    with pytest.raises(ConnectionError):
        await late
    assert breaker.state.value == "closed"
