"""What a runtime can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

__all__ = ["Company", "Group", "Runtime", "Stopped", "TimeLimit", "Waiter", "finish", "meant"]

T = TypeVar("T")


class Waiter(Protocol):
    """Lets one task or thread wait until another wakes it. Several wakes before a wait count as one."""

    def wake(self) -> None:
        """End the wait. Any thread may call it; a wake that comes before a wait ends the next one at once."""
        ...

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Wait until woken (True) or until the time is up (False)."""
        ...


class TimeLimit(Protocol):
    """A limit in time on what the calling task does until `end`."""

    def end(self, error: BaseException | None, /) -> bool:
        """Lift the limit, given how the work ended; True when it was this limit that stopped it.

        Then the cancellation in `error` is the limit's own, and the caller raises what it stands
        for. False leaves `error` to be raised as it is, a cancellation from elsewhere included.
        """
        ...


class Company(Protocol):
    """What runs beside the calling task, from `accompany` on."""

    async def end(self, error: BaseException | None, /) -> BaseException | None:
        """Stop it, given how the task's own work ended; gives what the caller then has to raise.

        That is `error` itself, or the companion's failure in its place, or None where all went well.
        """
        ...


class Group(Protocol):
    """Runs work side by side, inside an `async with` block.

    **Keeps**: nothing outlives the block, whose end waits for all. The first that raises (or the block
    itself) ends the others, and its exception arrives bare.
    """

    async def __aenter__(self) -> Self:
        """Begin."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Wait for all that was started."""
        ...

    def start(self, work: Callable[[], Awaitable[None]], /) -> None:
        """Run `work` beside the block."""

    def cancel(self) -> None:
        """Cancel all that was started, where the runtime can interrupt it. The block itself goes on."""


class Runtime(Protocol):
    """The few ways in which sdpatterns waits."""

    name: str

    async def sleep(self, seconds: float, /) -> None:
        """Wait. A checkpoint also for 0 seconds."""
        ...

    def waiter(self) -> Waiter:
        """A waiter for the caller's loop (or thread)."""
        ...

    def bound(self, seconds: float, /, more_s: Callable[[], float] | None = None) -> TimeLimit:
        """Limit the calling task from now on. Raises TypeError where work can't be interrupted.

        `more_s` is asked when the time is up: the seconds that the work has got meanwhile, as when the
        deadline of a request ended with its answer. Trio does not ask it, and stops the work.
        """
        ...

    async def shield(self, work: Callable[[], Awaitable[T]], /, *, at_most_s: float, once_cancelled: bool = False) -> T:
        """Run `work` to its end even when the caller is cancelled meanwhile, within a bound.

        The cancellation is raised again once the work is done. Past `at_most_s` the work itself is
        cancelled, and TimeoutError raised. With `once_cancelled` the bound begins when the caller is
        cancelled, and there is none before.
        """
        ...

    async def beside(
        self, work: Callable[[], Awaitable[T]], companion: Callable[[Waiter], Awaitable[None]], /, *, after_s: float = 0
    ) -> T:
        """Run `work`, with `companion(stop)` beside it from `after_s` on; ring `stop` when the work has ended.

        A companion that raises ends the work (where the runtime can interrupt it) and its exception
        is raised bare.
        """
        ...

    async def accompany(self, companion: Callable[[Waiter], Awaitable[None]], /, *, after_s: float = 0) -> Company:
        """The same for work that is no function, such as the body of an `async with`: call `end` after it.

        `end` is called in the task (or thread) that called this, with every block that was entered since left.
        """
        ...

    def group(self) -> Group:
        """Work side by side that ends with a block."""
        ...

    def apart(self, work: Callable[[], Awaitable[None]], /) -> None:
        """Begin `work` beside the program, in a context of its own, and wait for nothing of it.

        It is stopped where the loop or the program ends first. For work that may be skipped: work
        that fails is reported to the log.
        """
        ...


class Stopped(RuntimeError):
    """A plain function raised StopIteration, which no coroutine can let through; `finish` raises it bare."""

    def __init__(self, stop: StopIteration) -> None:
        super().__init__("a plain function raised StopIteration")
        self.stop = stop


def meant(error: Exception) -> Exception:
    """The exception that a function raised, also where that is a StopIteration and Python has to hide it.

    A coroutine that raises one arrives as a RuntimeError whose cause it is (PEP 479).
    """
    cause = error.__cause__
    if isinstance(cause, StopIteration) and (
        isinstance(error, Stopped)
        or (type(error) is RuntimeError and error.args == ("coroutine raised StopIteration",))
    ):
        return cause
    return error


def finish(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends.

    Raises RuntimeError when it does: it met something that needs an event loop.
    """
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    except Stopped as stopped:
        bare = stopped.stop
    else:
        work.close()
        raise RuntimeError("this call has to wait on an event loop, and there is none here")
    raise bare
