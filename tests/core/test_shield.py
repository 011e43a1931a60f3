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


async def test_shielded_work_fails_with_its_own_exception() -> None:
    mine = OSError("mine")

    async def work() -> None:
        raise mine

    with pytest.raises(OSError, match="mine") as caught:
        await current().shield(work, at_most_s=2.0)
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
async def test_a_task_cancelled_twice_still_awaits_its_shielded_work() -> None:
    ended: list[str] = []

    async def work() -> None:
        await asyncio.sleep(5.0)
        ended.append("work")

    task = asyncio.create_task(current().shield(work, at_most_s=10.0))  # type: ignore[arg-type]
    for _ in range(3):
        await asyncio.sleep(1.0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["work"]
