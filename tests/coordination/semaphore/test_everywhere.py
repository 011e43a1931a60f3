"""The same semaphore and read-write lease on real stores, in a loop and in threads."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from sdpatterns import Semaphore
from sdpatterns.blocking import blocking
from sdpatterns.coordination.lease import ReadWriteLease
from tests.backends.everywhere import each_backend, each_blocking_backend, unique
from tests.threads import in_threads

backend = each_backend
blocking_backend = each_blocking_backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_thirty_at_once_are_three_at_a_time(backend: Any) -> None:
    semaphore = Semaphore(unique("exports"), permits=3, store=backend.states, signals=backend.signals)
    inside, most, fences = 0, 0, []

    async def visit() -> None:
        nonlocal inside, most
        async with semaphore.guard("k") as held:
            inside += 1
            most = max(most, inside)
            fences.append(held.fence)
            await asyncio.sleep(0.005)
            inside -= 1

    await asyncio.gather(*(visit() for _ in range(30)))
    assert most == 3
    assert len(set(fences)) == 30


@pytest.mark.anyio
async def test_writers_are_alone_among_readers(backend: Any) -> None:
    catalog = ReadWriteLease(unique("catalog"), store=backend.states, signals=backend.signals)
    readers, writers, shared = 0, 0, 0

    async def read() -> None:
        nonlocal readers, shared
        async with catalog.reading("k"):
            readers += 1
            shared = max(shared, readers)
            assert writers == 0
            await asyncio.sleep(0.005)
            readers -= 1

    async def write() -> None:
        nonlocal writers
        async with catalog.writing("k"):
            writers += 1
            assert (readers, writers) == (0, 1)
            await asyncio.sleep(0.005)
            writers -= 1

    await asyncio.gather(*(work() for _ in range(5) for work in (read, read, read, write)))
    assert shared > 1


def test_eight_threads_are_two_at_a_time(blocking_backend: Any) -> None:
    states, signals = blocking_backend.states, blocking_backend.signals
    semaphore = blocking(Semaphore(unique("exports"), permits=2, store=states, signals=signals))
    inside: list[int] = []
    seen: list[int] = []

    def work() -> None:
        for _ in range(4):
            with semaphore.guard("k") as held:
                inside.append(held.fence)
                seen.append(len(inside))
                time.sleep(0.002)
                inside.remove(held.fence)

    in_threads(work)
    assert len(seen) == 32
    assert max(seen) <= 2


def test_threads_read_and_write(blocking_backend: Any) -> None:
    catalog = ReadWriteLease(unique("catalog"), store=blocking_backend.states, signals=blocking_backend.signals)
    readers, writers = blocking(catalog.readers), blocking(catalog.writers)
    with readers.guard("k"), readers.guard("k"):
        assert writers.acquire("k").allowed is False
    with writers.guard("k"):
        assert readers.acquire("k").allowed is False
