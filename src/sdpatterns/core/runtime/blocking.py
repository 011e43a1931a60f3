"""The twin for programs without an event loop: nothing suspends, waiting blocks the thread."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from sdpatterns.core.runtime.protocols import Bound, Waiter, finish

__all__ = ["BLOCKING", "BlockingRuntime"]

T = TypeVar("T")

_JOIN_S = 5.0


class BlockingWaiter:
    """A bell on a threading.Event."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        """Ring. Any thread may; a ring with nobody waiting is kept for the next `wait`."""
        self._event.set()

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Park until rung (True) or until the time is up (False)."""
        rung = self._event.wait(timeout_s)
        if rung:
            # Else a ring that came just now would be lost, and a companion never told to stop.
            self._event.clear()
        return rung


class BlockingRuntime:
    """See `Runtime`. Work cannot be interrupted here; a companion runs in a thread of its own."""

    name = "blocking"

    async def sleep(self, seconds: float, /) -> None:
        """Wait. A checkpoint also for 0 seconds."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking the thread is this twin's work

    def waiter(self) -> Waiter:
        """A bell that belongs to the caller's loop (or thread)."""
        return BlockingWaiter()

    def bound(self, seconds: float, /) -> Bound:
        """Limit the calling task from now on. Raises TypeError where work can't be interrupted."""
        raise TypeError(
            "a thread cannot be interrupted from outside: give the work a timeout of its own,"
            " and carry the bound to it with with_deadline"
        )

    async def shield(self, work: Callable[[], Awaitable[T]], /, *, at_most_s: float) -> T:
        """Run `work` to its end even when the caller is cancelled meanwhile, within a bound."""
        return await work()

    async def beside(self, work: Callable[[], Awaitable[T]], companion: Callable[[Waiter], Awaitable[None]], /) -> T:
        """Run `work` while `companion(stop)` runs; ring `stop` when the work has ended."""
        stop = BlockingWaiter()
        failures: list[BaseException] = []

        def run() -> None:
            """Run the companion to its end, and keep what it raises."""
            try:
                finish(cast("Coroutine[Any, Any, None]", companion(stop)))
            except BaseException as failure:  # noqa: BLE001 - raised again in the caller's thread
                failures.append(failure)

        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(run,), daemon=True)
        thread.start()
        try:
            result = await work()
        finally:
            stop.wake()
            thread.join(_JOIN_S)
        if failures:
            raise failures[0]
        return result


BLOCKING = BlockingRuntime()
