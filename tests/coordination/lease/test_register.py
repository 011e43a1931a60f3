"""The register of fences: what it refuses, on real stores and in threads."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.coordination.lease import FenceRegister
from sdpatterns.coordination.lease.register import RaiseFence
from sdpatterns.core.step import UNCHANGED
from sdpatterns.errors import StaleFence
from sdpatterns.testing.faults import SteppedClock
from tests.backends.everywhere import each_backend, unique

pytestmark = pytest.mark.anyio
backend = each_backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_no_smaller_fence_is_taken_after_a_larger_one(backend: Any) -> None:
    """Ten times ten checks at once: none that is taken is smaller than one that was taken before it began."""
    name, taken, refused = unique("accounts"), list[int](), list[StaleFence]()
    registers = [FenceRegister(name, store=backend.states) for _ in range(2)]
    draw = random.Random(7)

    async def check(fence: int, largest: int) -> None:
        try:
            await registers[fence % 2].check("seller/7", fence)
        except StaleFence as stale:
            refused.append(stale)
        else:
            assert fence >= largest
            taken.append(fence)

    for turn in range(10):
        largest = max(taken, default=0)
        await asyncio.gather(*(check(draw.randint(1, 20 + 5 * turn), largest) for _ in range(10)))
    assert len(taken) >= 10
    assert len(refused) >= 10
    assert all(stale.seen > stale.presented for stale in refused)
    await registers[0].check("seller/7", max(taken))
    await registers[0].check("seller/8", 1)


async def test_a_fence_of_microseconds_comes_back_exactly(backend: Any) -> None:
    register, largest = FenceRegister(unique("accounts"), store=backend.states), 2**63 - 1
    await register.check("a", largest)
    with pytest.raises(StaleFence) as refused:
        await register.check("a", largest - 1)
    assert refused.value.seen == largest


@pytest.mark.parametrize("fence", [0, -1, 2**63, True, 1.5, "7"])
async def test_what_is_no_fence_is_refused(fence: Any) -> None:
    register = FenceRegister("accounts", store=MemoryBackend().states)
    with pytest.raises((ValueError, TypeError), match="fence"):
        await register.check("a", fence)


def test_a_fence_is_kept_for_the_time_that_was_set() -> None:
    clock = SteppedClock()
    register = blocking(FenceRegister("accounts", store=MemoryBackend(clock=clock).states, keep_s=60.0))
    register.check("a", 23)
    clock.step(59)
    for number in range(1000):  # a store drops what is over when others come
        register.check(f"other {number}", 1)
    with pytest.raises(StaleFence):
        register.check("a", 17)


def test_a_holder_that_comes_again_writes_nothing() -> None:
    assert RaiseFence(23, 60.0)([(17,)], 0) == (((23,),), 23, (60.0,), ())
    for fence in (23, 17):
        states, seen, *_ = RaiseFence(fence, 60.0)([(23,)], 0)
        assert (states, seen) == ((UNCHANGED,), 23)
