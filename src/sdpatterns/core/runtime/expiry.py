"""Bounds in time on asyncio tasks.

```
begin ---- work ---- end        in time: nothing happens
begin ---- work --x             time is up: the task is cancelled, and `end` says "it was me"
```

The rules of `Task.cancel` and `uncancel` (Python 3.11 to 3.13) come down to one: a bound takes back
the one cancellation that it sent, and claims the `CancelledError` only if no other request is left
than those that were there when it began. So an outer bound, a caller that cancels in the same
moment, and a task group all get theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sdpatterns.core.clock import SYSTEM

__all__ = ["AsyncioTimeLimit", "Expiries"]

_EARLY_S = 2e-6
"""A loop may call a timer early by its clock's resolution. To set it again for less than that would
be to ask in every turn."""


class AsyncioTimeLimit:
    """The bound on one piece of work in one task. `at` is the monotonic second at which it strikes."""

    __slots__ = ("at", "more_s", "requests", "struck", "task", "timer")

    def __init__(self, task: asyncio.Task[Any], at: float, more_s: Callable[[], float] | None = None) -> None:
        self.task = task
        self.at = at
        self.more_s = more_s
        self.requests = task.cancelling()
        self.struck = False
        self.timer: asyncio.TimerHandle | None = None

    def strike(self) -> None:
        """Cancel the task: the time is up, unless the work has got more meanwhile."""
        more_s = 0.0 if self.more_s is None else self.more_s()
        if more_s > 0:
            self.timer = self.task.get_loop().call_later(more_s, self.strike)
            return
        self.struck = True
        self.task.cancel()

    def end(self, error: BaseException | None, /) -> bool:
        if self.timer is not None:
            self.timer.cancel()
        if not self.struck:
            return False
        # `uncancel` comes first, so that our request is taken back even where another exception ended the work.
        return self.task.uncancel() <= self.requests and isinstance(error, asyncio.CancelledError)


class Expiries:
    """Many bounds of one length on one loop, at the price of one timer.

    Equal lengths run out in the order in which they began, so an insertion-ordered dict is the
    whole queue. The timer stands for the first; a bound that ends in time only leaves the dict.
    """

    __slots__ = ("loop", "pending", "timer")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.pending: dict[AsyncioTimeLimit, None] = {}
        self.timer: asyncio.TimerHandle | None = None

    def arm(self, seconds: float) -> None:
        """Have the timer fire in `seconds`."""
        assert self.loop is not None
        self.timer = self.loop.call_later(seconds, self._strike_due)

    def _strike_due(self) -> None:
        self.timer = None
        now = SYSTEM.monotonic()
        due: list[AsyncioTimeLimit] = []
        for bound in self.pending:
            if bound.at - now > _EARLY_S:
                self.arm(bound.at - now)
                break
            due.append(bound)
        # In a loop of their own, because a dict must not change while it is iterated.
        for bound in due:
            del self.pending[bound]
            bound.strike()
