"""Hazard 15: a cancelled release blocks no one, and only the holder releases.

peers.md, 15: cancelling a release deadlocks (redis-py#3847); a lock in cashews' memory can be released by anyone.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from sdpatterns import Lease
from tests.backends.everywhere import each_backend, unique

pytestmark = pytest.mark.anyio
backend = each_backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def lease_on(backend: Any) -> Lease:
    # A lease far longer than the test: what is free here was released.
    return Lease(unique("payout"), store=backend.states, signals=backend.signals, lease_s=3600.0)


async def test_a_release_cancelled_at_any_moment_frees_the_key(backend: Any) -> None:
    lease = lease_on(backend)
    for turns in range(12):
        held = await lease.wait("k", max_wait_s=60.0)
        release = asyncio.create_task(lease.release(held))
        for _ in range(turns):
            await asyncio.sleep(0)
        release.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(release, 60.0)
        if turns == 0:  # it was cancelled before it began, so that it is still held, and still can be released
            assert await lease.release(held) is True
        next_held = (await lease.acquire("k")).permit
        assert next_held is not None, f"still held after {turns} turns of the loop"
        await lease.release(next_held)


async def test_a_block_cancelled_while_it_releases_frees_the_key_and_the_next_waiter_gets_it(backend: Any) -> None:
    lease = lease_on(backend)
    for turns in range(12):
        leaving = asyncio.Event()

        async def work(leaving: asyncio.Event = leaving) -> None:
            async with lease.guard("k"):
                leaving.set()

        holder = asyncio.create_task(work())
        await leaving.wait()
        waiter = asyncio.create_task(lease.wait("k", max_wait_s=300.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        holder.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await holder
        assert await lease.release(await asyncio.wait_for(waiter, 60.0)) is True


async def test_only_the_holder_can_release(backend: Any) -> None:
    name = unique("payout")
    mine, theirs = (Lease(name, store=backend.states, signals=backend.signals, lease_s=5.0) for _ in range(2))
    first = await mine.wait("k")
    assert (await theirs.acquire("k")).permit is None, "there is nothing to release for one that holds nothing"
    backend.shift(6.0)
    second = await theirs.wait("k")
    assert await mine.release(first) is False
    assert (await mine.acquire("k")).allowed is False, "a former holder freed the key of the present one"
    assert await theirs.release(second) is True
