"""A future whose task goes on at once, in the callback that brings the result.

```
asyncio.Future:  callback sets the result --> end of the turn --> select --> next turn: the task goes on
InlineFuture:    callback sets the result --> the task goes on
```

A turn of the loop costs about as much as reading a reply. It is saved for what waits for a socket: the loop calls the
protocol outside of any task, and when the protocol has nothing left to do, it may as well run the task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

__all__ = ["InlineFuture"]

T = TypeVar("T")


class InlineFuture(asyncio.Future[T]):
    """Awaited by one task, and by nothing else."""

    _resume: tuple[Callable[[asyncio.Future[T]], object], Context | None] | None = None

    def add_done_callback(self, call: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        """Called by the task that awaits it."""
        if self._resume is not None or self.done():
            super().add_done_callback(call, context=context)
        else:
            self._resume = call, context

    def cancel(self, msg: Any | None = None) -> bool:
        """As with any future: its task finds the cancellation in the next turn."""
        is_cancelled = super().cancel(msg)
        if is_cancelled and self._resume is not None:
            call, context = self._resume
            self.get_loop().call_soon(call, self, context=context)
        return is_cancelled

    def finish(self, result: T) -> None:
        """Set the result and run the task until it awaits again. Its caller has nothing left to do.

        Where a task is running already, the other one goes on in the next turn, as with any future.
        """
        if self.done():
            return
        self.set_result(result)
        if self._resume is None:
            return
        call, context = self._resume
        loop = self.get_loop()
        if context is None or asyncio.current_task() is not None:
            loop.call_soon(call, self, context=context)
            return
        try:
            context.run(call, self)
        except (SystemExit, KeyboardInterrupt) as error:
            # A task lets these through, to end the loop. In a protocol uvloop takes them for a broken connection.
            loop.call_soon(_end_loop, error)


def _end_loop(error: BaseException) -> None:
    raise error
