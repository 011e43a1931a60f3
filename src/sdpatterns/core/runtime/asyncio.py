"""The runtime for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime.expiry import AsyncioTimeLimit
from sdpatterns.core.runtime.loop_alarm import LoopAlarm, alarm_of
from sdpatterns.core.runtime.protocols import Company, Group, TimeLimit, Waiter

__all__ = ["ASYNCIO", "AsyncioRuntime"]

T = TypeVar("T")


class AsyncioWaiter:
    """A waiter on one future at a time; each wait makes a new one."""

    __slots__ = ("_future", "_loop", "_rung")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] | None = None
        self._rung = False

    def wake(self) -> None:
        # The one that waits has been woken, and has not looked yet.
        if self._rung:
            return
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - documented; None, not an error
            self._ring()
        elif not self._loop.is_closed():
            # Its own thread may close it at any moment; then no waiter is left there.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        self._rung = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def _time_is_up(self, future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        if self._rung:
            self._rung = False
            return True
        # A new one for each wait, because a future that has its result cannot be waited for again.
        future: asyncio.Future[None] = self._loop.create_future()
        self._future = future
        timer = None
        if timeout_s is not None:
            timer = self._loop.call_later(timeout_s, self._time_is_up, future)
        try:
            await future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()
        # The flag decides, not the future, because a wake may come in the turn in which the time is up.
        rung, self._rung = self._rung, False
        return rung


class AsyncioRuntime:
    """See `Runtime`."""

    name = "asyncio"

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(seconds)

    def waiter(self) -> Waiter:
        return AsyncioWaiter()

    def bound(self, seconds: float, /, more_s: Callable[[], float] | None = None) -> TimeLimit:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be limited in time, not a callback of the loop")
        bound = AsyncioTimeLimit(task, SYSTEM.monotonic() + seconds, more_s)
        bound.timer = task.get_loop().call_later(seconds, bound.strike)
        return bound

    async def shield(self, work: Callable[[], Awaitable[T]], /, *, at_most_s: float, once_cancelled: bool = False) -> T:
        # A task of its own, because a cancellation ends only the task that it is sent to.
        task = asyncio.ensure_future(work())
        if once_cancelled:
            await _see_off(task, at_most_s)
            return task.result()
        timer = task.get_loop().call_later(at_most_s, task.cancel)
        try:
            await _see_off(task)
        finally:
            timer.cancel()
        # The timer cancelled it: a cancellation of the caller is raised above.
        if task.cancelled():
            raise TimeoutError(f"shielded work did not end within {at_most_s:g} s")
        return task.result()

    async def beside(
        self, work: Callable[[], Awaitable[T]], companion: Callable[[Waiter], Awaitable[None]], /, *, after_s: float = 0
    ) -> T:
        """Run `work`, with `companion(stop)` beside it from `after_s` on; ring `stop` when the work has ended.

        Work that ends before that costs a timer and no task.
        """
        side = _accompanying(companion, after_s)
        result: T | None = None
        error: BaseException | None = None
        try:
            result = await work()
        except BaseException as raised:  # noqa: BLE001 - raised again below, once the companion has ended
            error = raised
        error = await side.end(error)
        try:
            if error is not None:
                raise error
        finally:
            del error
        return cast("T", result)

    async def accompany(self, companion: Callable[[Waiter], Awaitable[None]], /, *, after_s: float = 0) -> Company:
        return _accompanying(companion, after_s)

    def group(self) -> Group:
        return AsyncioGroup()

    def apart(self, work: Callable[[], Awaitable[None]], /) -> None:
        task = asyncio.get_running_loop().create_task(_logged(work), context=contextvars.Context())
        # A loop keeps only weak references to its tasks.
        _APART.add(task)
        task.add_done_callback(_APART.discard)


_APART: set[asyncio.Task[None]] = set()


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception:
        logging.getLogger("sdpatterns").exception("work in the background failed")


class AsyncioGroup:
    """See `Group`: a TaskGroup whose exception arrives bare."""

    def __init__(self) -> None:
        self._inside = asyncio.TaskGroup()
        self._me: asyncio.Task[Any] | None = None
        self._requests = 0
        # `asyncio.TaskGroup` gives no access to its tasks, and `cancel` needs them.
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._inside.__aenter__()
        self._me = asyncio.current_task()
        assert self._me is not None
        self._requests = self._me.cancelling()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        had_failed = sys.version_info < (3, 13) and self._has_failed()
        try:
            await self._inside.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            failure = group.exceptions[0]  # those are in the order in which they came
            if sys.version_info < (3, 13):
                self._settle_requests(had_failed=had_failed)
        else:
            return None
        try:
            # None lets Python raise the exception of the block as it is.
            if failure is error:
                return None
            raise failure
        finally:
            del failure, error

    def _has_failed(self) -> bool:
        inside: Any = self._inside
        return bool(inside._parent_cancel_requested)  # noqa: SLF001 - asked before Python 3.13 only

    def _settle_requests(self, *, had_failed: bool) -> None:
        """What TaskGroup does by itself from Python 3.13 on, where a task has failed."""
        assert self._me is not None
        # It takes back its own request to cancel the caller only where the task failed before the block ended.
        if self._has_failed() and not had_failed:
            self._me.uncancel()
        # It forgets a request from outside that came while its tasks ended. A caller that takes the failure and goes on
        # would never end, so that it is cancelled at its next `await`.
        if self._me.cancelling() > self._requests:
            self._me.uncancel()
            self._me.cancel()

    def start(self, work: Callable[[], Awaitable[None]], /) -> None:
        task = self._inside.create_task(self._run(work))
        # One that is eager may have ended already.
        if not task.done():
            self._tasks.add(task)

    def cancel(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            # Here, because a callback at its end would cost a turn of the loop, and weak references more than that.
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)


def _accompanying(companion: Callable[[Waiter], Awaitable[None]], after_s: float) -> _CompanionTask:
    me = asyncio.current_task()
    assert me is not None
    side = _CompanionTask(me, companion)
    if after_s > 0:
        side.alarm = alarm_of(me.get_loop())
        side.bell = side.alarm.put_on(side.begin, after_s)
    else:
        side.begin()
    return side


class _CompanionTask:
    """What runs beside one piece of work, in a task of its own, and ends the work where it fails."""

    __slots__ = ("_function", "_me", "_over", "_requests", "_stop", "_struck", "_task", "alarm", "bell")

    def __init__(self, me: asyncio.Task[Any], function: Callable[[Waiter], Awaitable[None]]) -> None:
        self._me = me
        self._function = function
        # Requests to cancel that came before belong to the caller; the companion must not answer for them.
        self._requests = me.cancelling()
        self._task: asyncio.Future[None] | None = None
        self._stop: AsyncioWaiter | None = None
        self._over = False
        self._struck = False
        self.alarm: LoopAlarm | None = None
        self.bell = 0

    def begin(self) -> None:
        self._stop = AsyncioWaiter()
        self._task = asyncio.ensure_future(self._function(self._stop))
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        # Called a turn after the companion's end, when the work may be over: then it is not cancelled.
        if not self._over and _failure(task) is not None:
            self._struck = self._me.cancel()

    async def end(self, error: BaseException | None, /) -> BaseException | None:
        if self.alarm is not None:
            self.alarm.take_off(self.bell)
        failure = self._struck_with(error)
        if self._task is not None:
            await self._see_off()
        return error if failure is None else failure

    def _struck_with(self, error: BaseException | None) -> BaseException | None:
        """The companion's failure, if the caller has to get it. The work is over, by `error` or by its end."""
        self._over = True
        # The cancellation is ours only if no other request to cancel came.
        is_ours = self._struck and self._me.uncancel() <= self._requests and isinstance(error, asyncio.CancelledError)
        if self._task is None or not self._task.done():
            return None
        failure = _failure(self._task)
        return failure if is_ours or error is None else None

    async def _see_off(self) -> None:
        assert self._task is not None
        assert self._stop is not None
        self._stop.wake()
        if not self._task.done():
            # Cancelled too, because a companion may be waiting for something other than its waiter.
            self._task.cancel()
            await _see_off(self._task)


async def _see_off(task: asyncio.Future[Any], at_most_s: float | None = None) -> None:
    """Wait until the task has ended, also when the caller is cancelled; then raise that cancellation.

    The task is cancelled too if it has not ended `at_most_s` after that.
    """
    timer: asyncio.TimerHandle | None = None
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        if at_most_s is not None:
            timer = task.get_loop().call_later(at_most_s, task.cancel)
        # A scope of anyio strikes again in every turn of the loop; behind its shield only a
        # cancellation of the task itself does.
        anyio = sys.modules.get("anyio")
        with contextlib.nullcontext() if anyio is None else anyio.CancelScope(shield=True):
            while not task.done():
                try:
                    await asyncio.wait({task})
                except asyncio.CancelledError:
                    continue
        if not task.cancelled():
            # Looked at, or asyncio would log it as an exception that was never retrieved.
            task.exception()
        raise
    finally:
        if timer is not None:
            timer.cancel()


def _failure(task: asyncio.Future[None]) -> BaseException | None:
    """What the ended task raised, a cancellation aside."""
    return None if task.cancelled() else task.exception()


ASYNCIO = AsyncioRuntime()
