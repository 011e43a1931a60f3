"""Hazard 14: a lease that ends while its holder works: the holder is told, and a late write is refused.

peers.md, 14: no lock of Python gives a fencing token. With a time to live of 0.3 s and 1 s of work, redis-py, cashews,
aiocache and pottery let two holders in, two of them without a word.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sdpatterns import Lease
from sdpatterns.core.fence import Fence
from sdpatterns.errors import LeaseLost, StaleFence
from tests.backends.everywhere import each_backend, unique

pytestmark = pytest.mark.anyio
backend = each_backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def lease_on(backend: Any, lease_s: float) -> Lease:
    return Lease(unique("payout"), store=backend.states, signals=backend.signals, lease_s=lease_s)


async def test_work_that_takes_three_times_its_lease_stays_alone(backend: Any) -> None:
    lease, inside, most = lease_on(backend, 1.0), 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with lease.guard("k"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(3.0 if inside == 1 and most == 1 else 0.0)
            inside -= 1

    await asyncio.gather(work(), work())
    assert most == 1


async def test_a_holder_that_lost_its_lease_is_cancelled_and_its_late_write_is_refused(backend: Any) -> None:
    lease, account = lease_on(backend, 3.0), Fence("account")
    stopped_at = ""
    with pytest.raises(LeaseLost):  # noqa: PT012 - the whole block is cancelled
        async with lease.guard("k") as late:
            try:
                # The store's clock runs on, as for a process that is stopped for five seconds.
                backend.shift(5.0)
                next_holder = (await lease.acquire("k")).permit
                assert next_holder is not None
                account.check(next_holder.fence)
                stopped_at = "work"
                await asyncio.sleep(60.0)
                stopped_at = "the end"
            except asyncio.CancelledError:
                # It writes all the same: the resource knows a newer fence and says no.
                with pytest.raises(StaleFence):
                    account.check(late.fence)
                raise
    assert stopped_at == "work"
    account.check(next_holder.fence)


async def test_a_token_grows_from_holder_to_holder_whatever_ended_the_one_before(backend: Any) -> None:
    lease, fences = lease_on(backend, 3.0), []
    for ends_by in ("release", "expiry", "release", "expiry", "release"):
        held = (await lease.acquire("k")).permit
        assert held is not None
        fences.append(held.fence)
        if ends_by == "release":
            await lease.release(held)
        else:
            backend.shift(3.5)
    assert fences == sorted(set(fences))
