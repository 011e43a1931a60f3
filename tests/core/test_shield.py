"""Work that must end, and companions that must be seen off, whatever strikes their caller."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from sdpatterns.core.runtime import Waiter, current
from tests.loops import each_virtual_loop, on_virtual_asyncio

pytestmark = pytest.mark.anyio
anyio_backend = each_virtual_loop


async def test_shielded_work_ends_before_the_cancellation_goes_on() -> None:
    ended: list[str] = []

    async def work() -> None:
        await anyio.sleep(5.0)
        ended.append("work")

    with anyio.move_on_after(1.0) as scope:
        await current().shield(work, at_most_s=10.0)
        ended.append("caller")
    assert ended == ["work"]
    assert scope.cancelled_caught


async def test_shielded_work_that_takes_too_long_is_a_timeout() -> None:
    struck: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep(100.0)
        except BaseException:
            struck.append("work")
            raise

    with pytest.raises(TimeoutError):
        await current().shield(work, at_most_s=2.0)
    assert struck == ["work"]


async def test_a_bound_that_begins_with_the_cancellation_ends_nothing_before() -> None:
    ended: list[str] = []

    async def work() -> str:
        try:
            await anyio.sleep(100.0)
        except BaseException:
            ended.append("struck")
            raise
        ended.append("work")
        return "done"

    assert await current().shield(work, at_most_s=2.0, once_cancelled=True) == "done"
    with anyio.move_on_after(99.0) as late:
        await current().shield(work, at_most_s=2.0, once_cancelled=True)
    with anyio.move_on_after(1.0) as early:
        began_s = anyio.current_time()
        await current().shield(work, at_most_s=2.0, once_cancelled=True)
    assert ended == ["work", "work", "struck"]
    assert late.cancelled_caught
    assert early.cancelled_caught
    assert anyio.current_time() - began_s == pytest.approx(3.0)


@pytest.mark.parametrize("once_cancelled", [False, True])
async def test_shielded_work_fails_with_its_own_exception(once_cancelled: bool) -> None:
    mine = OSError("mine")

    async def work() -> None:
        raise mine

    with pytest.raises(OSError, match="mine") as caught:
        await current().shield(work, at_most_s=2.0, once_cancelled=once_cancelled)
    assert caught.value is mine


async def test_a_companion_that_cleans_up_slowly_is_awaited_under_a_cancelled_scope() -> None:
    ended: list[str] = []

    async def companion(stop: Waiter) -> None:
        try:
            await stop.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3.0)
            ended.append("companion")

    async def work() -> None:
        await anyio.sleep(100.0)

    with anyio.move_on_after(1.0):
        await current().beside(work, companion)
    assert ended == ["companion"]


@on_virtual_asyncio
@pytest.mark.parametrize("once_cancelled", [False, True])
async def test_a_task_cancelled_twice_still_awaits_its_shielded_work(once_cancelled: bool) -> None:
    ended: list[str] = []

    async def work() -> None:
        await asyncio.sleep(5.0)
        ended.append("work")

    task = asyncio.create_task(
        current().shield(work, at_most_s=10.0, once_cancelled=once_cancelled)  # type: ignore[arg-type]
    )
    for _ in range(3):
        await asyncio.sleep(1.0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["work"]
