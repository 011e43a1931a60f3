"""Several keys at once: all or none, in any order that callers name them, without a deadlock."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from sdpatterns import Lease
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.errors import LeaseNotGranted
from tests.backends.everywhere import each_backend, unique

pytestmark = pytest.mark.anyio
backend = each_backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_callers_that_name_the_same_keys_in_any_order_are_alone_with_each_of_them(backend: Any) -> None:
    lease = Lease(unique("stock"), store=backend.states, signals=backend.signals)
    inside, draw = set[str](), random.Random(7)

    async def visit() -> None:
        keys = draw.sample(["a", "b", "c", "d"], 3)
        async with lease.guard_all(*keys) as held:
            assert [each.key for each in held] == keys
            assert not inside & set(keys)
            inside.update(keys)
            await asyncio.sleep(0)
            inside.difference_update(keys)

    async with asyncio.timeout(120):
        await asyncio.gather(*(visit() for _ in range(12)))


async def test_where_one_key_is_held_none_of_the_others_stays_held(backend: Any) -> None:
    lease = Lease(unique("stock"), store=backend.states, signals=backend.signals, wait_max_s=0.05)
    taken = await lease.wait("b")
    with pytest.raises(LeaseNotGranted):
        async with lease.guard_all("c", "b", "a"):
            raise AssertionError("must not be entered")
    for key in ("a", "c"):
        free = (await lease.acquire(key)).permit
        assert free is not None
        await lease.release(free)
    with pytest.raises(ArithmeticError):
        async with lease.guard_all("a", "c"):
            raise ArithmeticError
    assert (await lease.acquire("a")).allowed
    await lease.release(taken)


def test_keys_must_differ() -> None:
    memory = MemoryBackend()
    lease = Lease("stock", store=memory.states, signals=memory.signals)
    for keys in ((), ("a", "a")):
        with pytest.raises(ValueError, match="different keys"):
            lease.guard_all(*keys)
