"""Work beside other work: it ends with the service or the caller that began it, and is never left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def alongside(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run endless loops during a block; they are cancelled and awaited at its end."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Unbroken:
    """Work that goes on to its end where its caller is cancelled, as a statement does that is on its way."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of the work, for a caller that is still there."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may have gone

    async def aclose(self) -> None:
        """Wait until all of it has ended."""
        await asyncio.gather(*self._running, return_exceptions=True)


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """All results, in order; the first exception ends the others and is raised once they have ended.

    `asyncio.gather` leaves them running then. Their connections would be opened after their client was closed.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:  # of a task, or our own cancellation
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def happens(event: asyncio.Event, within_s: float) -> bool:
    """Whether an event happens within a time: a pause that it ends early."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()
