"""The runtime for programs without an event loop: nothing suspends, waiting blocks the thread."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from sdpatterns.core.runtime.alarm import ALARM
from sdpatterns.core.runtime.protocols import Company, Group, TimeLimit, Waiter, finish

__all__ = ["BLOCKING", "BlockingRuntime"]

T = TypeVar("T")

_JOIN_S = 5.0


class BlockingWaiter:
    """A waiter on a threading.Event."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        rung = self._event.wait(timeout_s)
        if rung:
            # Otherwise a wake that came just now would be lost, and a companion would never stop.
            self._event.clear()
        return rung


class BlockingRuntime:
    """See `Runtime`. Work cannot be interrupted here; a companion runs in a thread of its own."""

    name = "blocking"

    async def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - blocking the thread is this runtime's work

    def waiter(self) -> Waiter:
        return BlockingWaiter()

    def bound(self, seconds: float, /, more_s: Callable[[], float] | None = None) -> TimeLimit:
        raise TypeError(
            "a thread cannot be interrupted from outside: give the work a timeout of its own,"
            " and carry the bound to it with with_deadline"
        )

    async def shield(self, work: Callable[[], Awaitable[T]], /, *, at_most_s: float, once_cancelled: bool = False) -> T:
        return await work()

    async def beside(
        self, work: Callable[[], Awaitable[T]], companion: Callable[[Waiter], Awaitable[None]], /, *, after_s: float = 0
    ) -> T:
        """Run `work`, with `companion(stop)` beside it from `after_s` on; ring `stop` when the work has ended.

        Any number of works that end before that share one thread, the alarm's.
        """
        side = await self.accompany(companion, after_s=after_s)
        try:
            result = await work()
        except BaseException as error:
            await side.end(error)
            raise
        failure = await side.end(None)
        if failure is not None:
            raise failure
        return result

    async def accompany(self, companion: Callable[[Waiter], Awaitable[None]], /, *, after_s: float = 0) -> Company:
        side = _CompanionThread(companion, after_s)
        if after_s > 0:
            ALARM.put_on(side.begin, after_s)
        else:
            side.begin()
        return side

    def group(self) -> Group:
        return ThreadGroup()

    def apart(self, work: Callable[[], Awaitable[None]], /) -> None:
        def run() -> None:
            try:
                finish(cast("Coroutine[Any, Any, None]", work()))
            except Exception:
                logging.getLogger("sdpatterns").exception("work in the background failed")

        # An empty context, because the work must not end with the deadline of the caller that began it.
        thread = threading.Thread(target=contextvars.Context().run, args=(run,), name="sdpatterns-apart", daemon=True)
        with contextlib.suppress(RuntimeError):  # there is no free thread
            thread.start()


class ThreadGroup:
    """See `Group`: threads. They cannot be cancelled, so the end of the block waits for their own."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        for thread in self._threads:
            thread.join()
        if error is None and self._failures:
            raise self._failures[0]
        return None

    def start(self, work: Callable[[], Awaitable[None]], /) -> None:
        def run() -> None:
            try:
                finish(cast("Coroutine[Any, Any, None]", work()))
            except BaseException as failure:  # noqa: BLE001 - raised again at the end of the block
                self._failures.append(failure)

        # A copy for each thread, because two threads cannot be in one context at the same time.
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(run,), name="sdpatterns-group", daemon=True)
        thread.start()
        self._threads.append(thread)

    def cancel(self) -> None:
        """Nothing: a thread cannot be interrupted."""


class _CompanionThread:
    """What runs beside one piece of work, in a thread of its own."""

    __slots__ = ("_after_s", "_context", "_function", "_stop", "_thread", "failure")

    def __init__(self, function: Callable[[Waiter], Awaitable[None]], after_s: float) -> None:
        self._function = function
        self._after_s = after_s
        # Copied here and not in `begin`, which may run in the thread of the alarm.
        self._context = contextvars.copy_context()
        self._stop = BlockingWaiter()
        self._thread: threading.Thread | None = None
        self.failure: BaseException | None = None

    def begin(self) -> None:
        thread = threading.Thread(target=self._context.run, args=(self._run,), daemon=True)
        try:
            thread.start()
        except RuntimeError as failure:  # there is no free thread; the work's caller gets the error
            self.failure = failure
        else:
            self._thread = thread

    def _run(self) -> None:
        try:
            finish(cast("Coroutine[Any, Any, None]", self._function(self._stop)))
        except BaseException as failure:  # noqa: BLE001 - raised again in the caller's thread
            self.failure = failure

    async def end(self, error: BaseException | None, /) -> BaseException | None:
        # An alarm that could not be taken off has run, so a companion runs and has to be stopped.
        if self._after_s <= 0 or not ALARM.take_off(self.begin):
            self._stop.wake()
            if self._thread is not None:
                # Bounded, because a companion that hangs in a driver must not keep the caller of the work.
                self._thread.join(_JOIN_S)
        # Nothing interrupts a thread, so what the work raised is its own.
        return self.failure if error is None else error


BLOCKING = BlockingRuntime()
