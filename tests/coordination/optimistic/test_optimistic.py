"""No update is lost, on any store; a repeat of a write finds itself."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.coordination.optimistic import OptimisticLock, Versioned
from sdpatterns.coordination.optimistic.decision import CompareAndSet, VersionRecord
from sdpatterns.errors import VersionConflict
from tests.backends.everywhere import each_backend, unique

pytestmark = pytest.mark.anyio
backend = each_backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_no_update_is_lost(backend: Any) -> None:
    stock: OptimisticLock[int] = OptimisticLock(unique("stock"), store=backend.states)

    async def add(count: int | None) -> int:
        await asyncio.sleep(0)
        return (count or 0) + 1

    done = await asyncio.gather(*(stock.update("é/{x}", add) for _ in range(10)))
    assert sorted(done) == list(range(1, 11))
    assert (await stock.read("é/{x}")).value == 10


async def test_a_write_on_an_older_version_is_refused(backend: Any) -> None:
    stock: OptimisticLock[Any] = OptimisticLock(unique("stock"), store=backend.states)
    assert await stock.read("a") == Versioned(None, 0)
    first = await stock.write("a", Decimal("1.50"), 0)
    second = await stock.write("a", (1, b"x"), first)
    assert second > first > 0
    for expected in (0, first, second + 1):
        with pytest.raises(VersionConflict) as refused:
            await stock.write("a", "late", expected)
        assert (refused.value.expected, refused.value.found) == (expected, second)
    assert await stock.read("a") == Versioned((1, b"x"), second)


async def test_an_update_gives_up_after_its_attempts() -> None:
    stock: OptimisticLock[int] = OptimisticLock("stock", store=MemoryBackend().states, attempts_max=3)
    runs = 0

    async def overtaken(count: int | None) -> int:
        nonlocal runs
        runs += 1
        await stock.write("a", runs, (await stock.read("a")).version)
        return 0

    with pytest.raises(VersionConflict):
        await stock.update("a", overtaken)
    assert runs == 3


def test_a_repeat_after_a_lost_reply_finds_itself_and_no_version_is_used_twice() -> None:
    step = CompareAndSet("me", 0, b"v", 60.0)
    [[state], first, _, _] = step([None], 1_000)
    assert isinstance(state, VersionRecord)
    assert first == (1_000, True)
    assert step([state], 2_000)[1] == (1_000, True)
    other = CompareAndSet("another", 1_000, b"w", 60.0)
    # A clock that was set back gives no version that was used.
    assert other([state], 10)[1] == (1_001, True)
    assert CompareAndSet("late", 0, b"x", 60.0)([state], 2_000)[1] == (1_000, False)
