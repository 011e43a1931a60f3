"""Hazard 1: fifty callers when the open period ends. Exactly the configured probes reach the callee."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sdpatterns import CircuitBreaker
from sdpatterns.errors import CircuitIsOpen
from tests.loops import on_virtual_asyncio

pytestmark = [
    pytest.mark.anyio,
    on_virtual_asyncio,
]


@pytest.mark.parametrize("key", ["", "eu-1"])
@pytest.mark.parametrize("probes", [1, 2, 7])
async def test_of_fifty_callers_exactly_the_probes_reach_the_callee(probes: int, key: str) -> None:
    breaker = CircuitBreaker("sick", consecutive=1, open_s=30.0, probes=probes, probe_successes=probes)
    reached, is_back = 0, False

    async def callee() -> None:
        nonlocal reached
        reached += 1
        await asyncio.sleep(1.0)
        if not is_back:
            raise ConnectionError

    fetch = (breaker.by(key) if key else breaker).protect(callee)
    with pytest.raises(ConnectionError):
        await fetch()
    for is_back in (False, True):  # noqa: B007 - the callee reads it
        await asyncio.sleep(30.0)
        reached = 0
        outcomes: list[Any] = await asyncio.gather(*(fetch() for _ in range(50)), return_exceptions=True)
        assert reached == probes
        assert sum(isinstance(outcome, CircuitIsOpen) for outcome in outcomes) == 50 - probes
    assert breaker.snapshot(key).state.value == "closed"
