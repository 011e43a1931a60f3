"""A semaphore and a read-write lease in virtual time, under asyncio and trio."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sdpatterns import Semaphore
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.coordination.lease import ReadWriteLease
from sdpatterns.core.clock import SYSTEM
from sdpatterns.errors import LeaseNotGranted

pytestmark = pytest.mark.anyio


class Inside:
    """Who is inside, and how many at most."""

    def __init__(self) -> None:
        self.now: list[Any] = []
        self.most = 0
        self.order: list[Any] = []

    async def visit(self, block: Any, who: Any, lasts_s: float = 1.0) -> int:
        async with block as held:
            self.now.append(who)
            self.order.append(who)
            self.most = max(self.most, len(self.now))
            try:
                await anyio.sleep(lasts_s)
            finally:
                self.now.remove(who)
        fence: int = held.fence
        return fence


def semaphore_on(backend: MemoryBackend, permits: int, **settings: Any) -> Semaphore:
    return Semaphore("exports", permits=permits, store=backend.states, signals=backend.signals, **settings)


async def test_so_many_at_a_time_in_the_order_in_which_they_came(backend: MemoryBackend) -> None:
    semaphore, inside, started = semaphore_on(backend, 3), Inside(), SYSTEM.monotonic()
    async with anyio.create_task_group() as group:
        for who in range(9):
            group.start_soon(inside.visit, semaphore.guard("k"), who)
            await anyio.sleep(0.01)
    assert inside.most == 3
    assert inside.order == list(range(9))
    assert SYSTEM.monotonic() - started == pytest.approx(3.0, abs=0.1)


async def test_each_permit_has_a_lease_and_a_fence_of_its_own(backend: MemoryBackend) -> None:
    semaphore = semaphore_on(backend, 2)
    first, second = (await semaphore.acquire("k")).permit, (await semaphore.acquire("k")).permit
    assert first is not None
    assert second is not None
    assert second.fence > first.fence
    assert (await semaphore.acquire("k")).allowed is False
    await anyio.sleep(9.0)
    assert await semaphore.renew(second)
    await anyio.sleep(2.0)
    third = (await semaphore.acquire("k")).permit
    assert third is not None, "the permit of a dead holder comes back when its lease is over"
    assert (await semaphore.acquire("k")).allowed is False
    assert await semaphore.renew(first) is False
    assert await semaphore.release(second)
    assert await semaphore.release(third)


def test_a_semaphore_says_what_it_is(backend: MemoryBackend) -> None:
    assert repr(semaphore_on(backend, 3)) == (
        "<Semaphore 'exports' (lease 10 s, wait 60 s, 3 permits): in MemoryStates>"
    )
    with pytest.raises(ValueError, match="permits must be a whole number from 1 to 10000"):
        semaphore_on(backend, 0)


# -- readers and writers -------------------------------------------------------------------------


async def test_readers_share_and_a_writer_is_alone(backend: MemoryBackend) -> None:
    catalog = ReadWriteLease("catalog", store=backend.states, signals=backend.signals)
    inside, started = Inside(), SYSTEM.monotonic()
    async with anyio.create_task_group() as group:
        for who in range(5):
            group.start_soon(inside.visit, catalog.reading("k"), f"reader {who}")
        await anyio.sleep(0.1)
        assert len(inside.now) == 5
        group.start_soon(inside.visit, catalog.writing("k"), "writer")
        await anyio.sleep(0.1)
        for who in range(5, 8):
            group.start_soon(inside.visit, catalog.reading("k"), f"reader {who}")
            await anyio.sleep(0.01)
        await anyio.sleep(1.0)
        assert inside.now == ["writer"], "readers that come later do not pass a writer"
        assert (await catalog.readers.acquire("k")).allowed is False
    assert inside.order[5] == "writer"
    assert sorted(inside.order[6:]) == ["reader 5", "reader 6", "reader 7"]
    assert SYSTEM.monotonic() - started == pytest.approx(3.0, abs=0.1)


async def test_the_sides_are_guards_of_their_own(backend: MemoryBackend) -> None:
    catalog = ReadWriteLease("catalog", store=backend.states, signals=backend.signals, wait_max_s=0)

    @catalog.writers.by(lambda sku: sku)
    async def change(sku: str) -> str:
        async with catalog.reading("other"):
            assert (await catalog.readers.acquire(sku)).allowed is False
        return sku

    assert await change("shoes") == "shoes"
    async with catalog.reading("shoes"):
        with pytest.raises(LeaseNotGranted):
            await change("shoes")
    assert repr(catalog) == "<ReadWriteLease 'catalog'>"
    assert repr(catalog.readers).startswith("<ReadSide 'catalog' (lease 10 s")
    assert catalog.runtime is None
