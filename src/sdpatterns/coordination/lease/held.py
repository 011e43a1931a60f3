"""What a holder has: its fence, its heartbeat, and the block in which it works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from sdpatterns.coordination.lease.waiting import Cohort
from sdpatterns.core.heartbeat import Heartbeat
from sdpatterns.core.tracing import TRACERS, Opened, opened_by

__all__ = ["Held", "Holding", "current_lease"]

_CURRENT: ContextVar[Held | None] = ContextVar("sdpatterns_lease", default=None)


def current_lease() -> Held:
    """The lease under which the running code works, the innermost one where there are several.

    Raises `LookupError` where it works under none.
    """
    held = _CURRENT.get()
    if held is None:
        raise LookupError("this code does not run under a lease")
    return held


class Held:
    """Permits of one key, held until they are released or their lease ends.

    `fence` grows with every holder of the key: hand it to each resource that has to refuse a late holder.
    """

    __slots__ = ("cell", "cohort", "fence", "heartbeat", "is_released", "key", "name", "who")

    def __init__(
        self, name: str, key: str, cell: str, who: str, fence: int, heartbeat: Heartbeat, cohort: Cohort
    ) -> None:
        self.name = name
        self.key = key
        self.cell = cell
        self.who = who
        self.fence = fence
        self.heartbeat = heartbeat
        self.cohort = cohort
        self.is_released = False

    def __repr__(self) -> str:
        return f"<Held {self.name!r} {self.key!r} fence {self.fence}>"

    @property
    def left_s(self) -> float:
        """Seconds of lease, counted from before the store was asked; negative when it is over."""
        return self.heartbeat.left_s

    @property
    def is_lost(self) -> bool:
        """Whether it is known that another caller holds it, or that its lease ended without a renewal."""
        return self.heartbeat.lost is not None


class Releasing(Protocol):
    """What a block needs of the pattern whose permits it holds."""

    name: str

    async def release(self, held: Held, /) -> bool:
        """Give it back."""
        ...


class Holding:
    """`async with` around work that needs the lease. It is renewed while the work runs.

    **Keeps**: when the lease is lost the work is cancelled, where the runtime can interrupt it, and the block
    raises `LeaseLost`; the lease is released when the block ends, also by a cancellation.
    """

    __slots__ = ("_before", "_enter", "_held", "_opened", "_pattern")

    def __init__(self, pattern: Releasing, enter: Callable[[], Awaitable[Held]]) -> None:
        self._pattern = pattern
        self._enter = enter
        self._held: Held | None = None
        self._before: Held | None = None
        self._opened: Opened | None = None

    def __repr__(self) -> str:
        return f"<Holding of {self._pattern!r}>"

    async def __aenter__(self) -> Held:
        if self._held is not None:
            raise RuntimeError("a block of a lease is entered once: call guard() again")
        opened = self._opened = opened_by(self._pattern, self._pattern.name) if TRACERS else None
        try:
            # Stored before the heartbeat begins, so that a cancellation in between still gives the lease back.
            held = self._held = await self._enter()
            await held.heartbeat.begin()
        except BaseException as error:
            if self._held is not None:
                # Taken, but its heartbeat could not begin: nothing would renew it, so it is given back at once.
                await self._pattern.release(self._held)
            if opened is not None:
                opened.__exit__(None, error, None)
            raise
        self._before = _CURRENT.get()
        _CURRENT.set(held)
        return held

    if not TYPE_CHECKING:  # so that type checkers still refuse a plain `with`

        def __enter__(self) -> Any:
            raise TypeError("a lease is entered by `async with`, or by `with` behind blocking(...)")

        def __exit__(self, *_: object) -> None:
            """Never reached; without it Python would speak of this method alone."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held = self._held
        assert held is not None
        # By value, not by token: a coroutine that is dropped may be closed in another context.
        _CURRENT.set(self._before)
        ended = error
        try:
            try:
                ended = await held.heartbeat.finish(error)
            finally:
                # A lease that is lost is over: there is nothing to give back except the places of those that it served.
                # And a forked child that leaves the block must not end the lease under which its parent works.
                if (not held.is_lost or held.cohort.served) and not held.heartbeat.is_inherited:
                    await self._pattern.release(held)
        except BaseException as instead:
            ended = instead
            raise
        finally:
            if self._opened is not None:
                self._opened.__exit__(None, ended, None)
        if ended is not None and ended is not error:
            try:
                raise ended
            finally:
                del ended, error
