"""The runtime for trio. Imported only where trio runs."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar, cast

import trio

from sdpatterns.core.runtime.protocols import Company, Group, TimeLimit, Waiter

__all__ = ["TRIO", "TrioRuntime"]

T = TypeVar("T")


class TrioWaiter:
    """A waiter on a trio.Event; each wake makes a new one."""

    __slots__ = ("_event", "_token")

    def __init__(self) -> None:
        self._event = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def wake(self) -> None:
        if trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is self._token:
            self._event.set()
            return
        try:
            # Another thread must not touch an event of trio, so the token passes the call to the thread of trio.
            self._token.run_sync_soon(self._set)
        except trio.RunFinishedError:
            return

    def _set(self) -> None:
        self._event.set()

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
            await self._event.wait()
        rung = self._event.is_set()
        if rung:
            self._event = trio.Event()
        return rung


class TrioTimeLimit:
    """See `TimeLimit`: a cancel scope entered by hand."""

    __slots__ = ("_scope",)

    def __init__(self, seconds: float) -> None:
        self._scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        # By hand, because the limit begins in one method and ends in another.
        self._scope.__enter__()

    def end(self, error: BaseException | None, /) -> bool:
        """Lift the limit, given how the work ended; True when it was this limit that stopped it."""
        trace = None if error is None else error.__traceback__
        self._scope.__exit__(None if error is None else type(error), error, trace)
        return self._scope.cancelled_caught


class TrioGroup:
    """See `Group`: a nursery whose exception arrives bare.

    What is started is shielded, so that a cancellation from outside strikes the block alone, as it does
    under asyncio. The block passes it on, or, like a service, first lets the others finish.
    """

    def __init__(self) -> None:
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None
        self._scopes: set[trio.CancelScope] = set()
        self._empty = trio.Event()

    async def __aenter__(self) -> Self:
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        struck = error
        try:
            while self._scopes and struck is None:
                await self._empty.wait()
        except trio.Cancelled as cancelled:
            struck = cancelled
        if struck is not None:
            self.cancel()
        try:
            return await self._manager.__aexit__(None if struck is None else type(struck), struck, trace)
        except BaseExceptionGroup as group:
            failure = _only(group)
        try:
            if failure is error:
                return None
            raise failure
        finally:
            del failure, error, struck

    def start(self, work: Callable[[], Awaitable[None]], /) -> None:
        assert self._nursery is not None
        scope = trio.CancelScope(shield=True)
        self._scopes.add(scope)
        self._nursery.start_soon(self._inside, scope, work)

    async def _inside(self, scope: trio.CancelScope, work: Callable[[], Awaitable[None]]) -> None:
        try:
            with scope:
                await work()
        except BaseException:
            self.cancel()
            raise
        finally:
            self._scopes.discard(scope)
            self._empty.set()
            # An event of trio cannot be reset, so the next wait gets a new one.
            self._empty = trio.Event()

    def cancel(self) -> None:
        for scope in tuple(self._scopes):
            scope.cancel()


class TrioRuntime:
    """See `Runtime`."""

    name = "trio"

    async def sleep(self, seconds: float, /) -> None:
        await trio.sleep(seconds)

    def waiter(self) -> Waiter:
        return TrioWaiter()

    def bound(self, seconds: float, /, more_s: Callable[[], float] | None = None) -> TimeLimit:
        return TrioTimeLimit(seconds)

    async def shield(self, work: Callable[[], Awaitable[T]], /, *, at_most_s: float, once_cancelled: bool = False) -> T:
        if once_cancelled:
            return await _seen_through(work, at_most_s)
        result: T | None = None
        try:
            with trio.CancelScope(shield=True), trio.fail_after(at_most_s):
                result = await work()
        except trio.TooSlowError as late:
            raise TimeoutError(f"shielded work did not end within {at_most_s:g} s") from late
        finally:
            # A cancellation that came while the work was shielded is raised here.
            await trio.lowlevel.checkpoint_if_cancelled()
        return cast("T", result)

    async def beside(
        self, work: Callable[[], Awaitable[T]], companion: Callable[[Waiter], Awaitable[None]], /, *, after_s: float = 0
    ) -> T:
        """Run `work`, with `companion(stop)` beside it from `after_s` on; ring `stop` when the work has ended."""
        side = await self.accompany(companion, after_s=after_s)
        result: T | None = None
        error: BaseException | None = None
        try:
            result = await work()
        except BaseException as raised:  # noqa: BLE001 - raised again below, once the companion has ended
            error = raised
        error = await side.end(error)
        # Out of the handler, so that the work's own exception keeps its cause and context.
        try:
            if error is not None:
                raise error
        finally:
            del error
        return cast("T", result)

    async def accompany(self, companion: Callable[[Waiter], Awaitable[None]], /, *, after_s: float = 0) -> Company:
        side = _CompanionNursery(companion, after_s)
        await side.begin()
        return side

    def group(self) -> Group:
        return TrioGroup()

    def apart(self, work: Callable[[], Awaitable[None]], /) -> None:
        trio.lowlevel.spawn_system_task(_logged, work, context=contextvars.Context())


class _CompanionNursery:
    """What runs beside one piece of work, in a nursery that is entered and left by hand."""

    __slots__ = ("_after_s", "_failure", "_function", "_manager", "_over", "_scope", "_stop")

    def __init__(self, function: Callable[[Waiter], Awaitable[None]], after_s: float) -> None:
        self._function = function
        self._after_s = after_s
        self._manager = trio.open_nursery()
        self._stop = TrioWaiter()
        self._failure: BaseException | None = None
        self._over = False
        self._scope: trio.CancelScope | None = None

    async def begin(self) -> None:
        nursery = await self._manager.__aenter__()
        self._scope = nursery.cancel_scope
        nursery.start_soon(self._accompany, nursery.cancel_scope)

    async def _accompany(self, scope: trio.CancelScope) -> None:
        try:
            await trio.sleep(max(self._after_s, 0.0))
            await self._function(self._stop)
        except Exception as failure:  # noqa: BLE001 - kept aside, so that the nursery raises that of the work or none
            if not self._over:
                self._failure = failure
                scope.cancel()

    async def end(self, error: BaseException | None, /) -> BaseException | None:
        assert self._scope is not None
        self._over = True
        self._stop.wake()
        self._scope.cancel()
        try:
            is_caught = await self._manager.__aexit__(
                None if error is None else type(error), error, None if error is None else error.__traceback__
            )
        except BaseExceptionGroup as group:
            return _only(group)
        except BaseException as raised:  # noqa: BLE001 - the caller raises it
            return raised
        if self._failure is not None:
            return self._failure
        return None if is_caught else error


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception:
        logging.getLogger("sdpatterns").exception("work in the background failed")


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception that counts: the first that is no cancellation, if there is one."""
    errors = group.subgroup(Exception) or group
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


async def _seen_through(work: Callable[[], Awaitable[T]], at_most_s: float) -> T:
    """See `Runtime.shield`, where the bound begins with the cancellation."""
    ended = trio.Event()
    results: list[T] = []
    failures: list[BaseException] = []
    shielded = trio.CancelScope(shield=True)

    async def inside() -> None:
        try:
            with shielded:
                results.append(await work())
        except BaseException as error:  # noqa: BLE001 - raised below, bare and not in a group
            failures.append(error)
        ended.set()

    with trio.CancelScope() as outside:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inside)
            try:
                await ended.wait()
            except trio.Cancelled:
                shielded.deadline = trio.current_time() + at_most_s
            # For the end of the nursery, which would else raise the cancellation in a group.
            outside.shield = True
    await trio.lowlevel.checkpoint_if_cancelled()
    if failures:
        raise failures[0]
    return results[0]


TRIO = TrioRuntime()
