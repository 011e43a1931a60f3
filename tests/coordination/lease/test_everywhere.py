"""The same lease on every store, real ones: memory, SQLite, Postgres, Valkey, a Valkey Cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sdpatterns import Lease
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.errors import LeaseLost
from tests.backends.everywhere import each_backend, unique

pytestmark = pytest.mark.anyio
backend = each_backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def lease_on(backend: Any, name: str = "", **settings: Any) -> Lease:
    return Lease(name or unique("payout"), store=backend.states, signals=backend.signals, **settings)


async def test_thirty_at_once_are_alone_and_in_order(backend: Any) -> None:
    lease, inside, order, fences = lease_on(backend), 0, list[int](), list[int]()

    async def visit(number: int) -> None:
        nonlocal inside
        async with lease.guard("é/{x}%") as held:
            inside += 1
            assert inside == 1
            order.append(number)
            fences.append(held.fence)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(visit(number) for number in range(30)))
    assert fences == sorted(set(fences))
    assert order == list(range(30))


async def test_a_neighbour_works_before_its_predecessor_goes_on(backend: Any) -> None:
    if isinstance(backend, MemoryBackend):
        return  # it takes no time there to give a lease back
    lease, order = lease_on(backend), list[str]()

    async def follows() -> None:
        async with lease.guard("k"):
            order.append("the next one works")

    async with lease.guard("k"):
        next_one = asyncio.ensure_future(follows())
        # It has subscribed, and by the time of so many answers it has its own too, and waits.
        while not [each for each in lease._permits._waiters._waiting.values() if each.end_wait]:
            await lease._permits.cells.read("k")
        for _ in range(20):
            await lease._permits.cells.read("k")
    order.append("the first one goes on")
    await next_one
    assert order == ["the next one works", "the first one goes on"]


async def test_two_objects_of_one_name_share_their_keys_and_wake_each_other(backend: Any) -> None:
    name = unique("payout")
    # Two objects know nothing of each other, as in two processes: the grant comes by the inbox alone.
    one, other = lease_on(backend, name, lease_s=600.0), lease_on(backend, name, lease_s=600.0)
    held = await one.wait("k")
    assert (await other.acquire("k")).allowed is False
    waiter = asyncio.create_task(other.wait("k", max_wait_s=300.0))
    while not (await one._permits.cells.read("k")).queue:  # type: ignore[union-attr]  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(0.005)
    await one.release(held)
    # Without the wake-up it would look again after a third of the lease, 200 s.
    next_held = await asyncio.wait_for(waiter, 60.0)
    assert next_held.fence > held.fence
    await other.release(next_held)


async def test_expiry_is_the_stores_business(backend: Any) -> None:
    lease = lease_on(backend, lease_s=30.0)
    first = (await lease.acquire("k")).permit
    assert first is not None
    backend.shift(29.0)
    assert (await lease.acquire("k")).allowed is False
    backend.shift(2.0)
    second = (await lease.acquire("k")).permit
    assert second is not None
    assert second.fence > first.fence
    assert await lease.renew(first) is False
    assert await lease.release(first) is False
    assert await lease.renew(second) is True


async def test_a_heartbeat_keeps_it_on_a_real_store(backend: Any) -> None:
    lease = lease_on(backend, lease_s=1.0)
    async with lease.guard("k") as held:
        await asyncio.sleep(2.5)  # a busy machine may be a second late, so the lease is no shorter
        assert (await lease.acquire("k")).allowed is False
    assert not held.is_lost


async def test_a_holder_that_was_followed_by_another_is_cancelled(backend: Any) -> None:
    lease = lease_on(backend, lease_s=3.0)
    with pytest.raises(LeaseLost):  # noqa: PT012 - the whole block is cancelled
        async with lease.guard("k"):
            backend.shift(4.0)
            assert (await lease.acquire("k")).allowed is True
            await asyncio.sleep(60.0)


async def test_a_cancelled_waiter_and_a_cancelled_holder_leave_nothing(backend: Any) -> None:
    lease, began = lease_on(backend), asyncio.Event()

    async def hold() -> None:
        async with lease.guard("k"):
            began.set()
            await asyncio.sleep(60.0)

    holder = asyncio.create_task(hold())
    await began.wait()
    waiter = asyncio.create_task(lease.wait("k"))
    while not (await lease._permits.cells.read("k")).queue:  # type: ignore[union-attr]  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(0.005)
    for task in (waiter, holder):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await lease.acquire("k")).allowed
