"""How an attempt can fail, as the engine sees it: nothing happened, or it may have happened."""

from __future__ import annotations

__all__ = ["Lost", "NotSent", "ReplyLost"]


class Lost(Exception):
    """The store could not be talked to; `cause` says why. `late` says that it took too long to find that out."""

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
