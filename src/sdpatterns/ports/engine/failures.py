"""How an attempt can fail, as the engine sees it, and what is sent again. One rule for all stores.

| the attempt failed | the request is sent once more |
|---|---|
| after the caller had waited as long as one may (`is_late`) | no, because that would take as long again |
| `ReplyLost`: it may have happened | if a second time is harmless |
| `NotSent`: nothing happened | if the store says so (`again`), as after an idle connection that broke |

A request is in doubt once one of its replies was lost: after that a `NotSent` says nothing about the attempt before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["Lost", "NotSent", "ReplyLost", "may_repeat", "repeat"]

R = TypeVar("R")


class Lost(Exception):
    """The store could not be reached; `cause` says why. `late` says that it took too long to find that out."""

    def __init__(self, cause: BaseException | str, *, late: bool = False) -> None:
        self.cause = cause
        self._late = late
        super().__init__(str(cause) or type(cause).__name__)

    @property
    def is_late(self) -> bool:
        """The store was waited for as long as one may: to try again would be more than the caller agreed to."""
        cause: object = self
        while isinstance(cause, Lost):
            if cause._late:  # noqa: SLF001 - of its own class
                return True
            cause = cause.cause
        # Drivers raise time-outs of their own that do not derive from Python's but have its name.
        return any(kind.__name__ == "TimeoutError" for kind in type(cause).__mro__)


class NotSent(Lost):
    """Nothing reached the store, or it refused: nothing happened.

    `again` says that another attempt at once is worth it, as after a connection that broke while it was
    idle. `apart` says that one step of the batch may be to blame, so that each is worth an attempt alone.
    """

    def __init__(
        self, cause: BaseException | str, *, late: bool = False, again: bool = False, apart: bool = False
    ) -> None:
        super().__init__(cause, late=late)
        self.again = again
        self.apart = apart


class ReplyLost(Lost):
    """The request was sent and its reply did not come: it may have happened."""


def may_repeat(lost: Lost, *, harmless: bool, in_doubt: bool = False) -> bool:
    """Whether a request that failed so is worth one more attempt: see the module."""
    if lost.is_late:
        return False
    if in_doubt or isinstance(lost, ReplyLost):
        return harmless
    return isinstance(lost, NotSent) and lost.again


async def repeat(
    lost: Lost, request: Callable[[], Awaitable[R]], *, harmless: bool = True, leaves_doubt: bool = True
) -> R:
    """Make a request again that failed so, where that is safe. Raises what the caller has to be told.

    That is `ReplyLost` if the first attempt may have happened, also where the second one was refused.
    `leaves_doubt=False` is for what only reads or is only a hint: its failures are all `NotSent`.
    """
    if not may_repeat(lost, harmless=harmless):
        raise lost if leaves_doubt else NotSent(lost.cause, late=lost.is_late) from lost
    try:
        return await request()
    except Exception as error:
        cause = error.cause if isinstance(error, Lost) else error
        if leaves_doubt and isinstance(lost, ReplyLost):
            raise ReplyLost(cause) from error
        if isinstance(error, ReplyLost) and not leaves_doubt:
            raise NotSent(cause, late=error.is_late) from error
        raise
