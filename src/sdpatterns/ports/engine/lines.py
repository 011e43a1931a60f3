"""One line for each cell that has work: the steps of one process on a cell never race each other.

```
step on a, step on a, step on a --> line of a --> one attempt for all that wait
step on b                       --> line of b --> one attempt, beside that of a
```
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Hashable
from typing import Any

from sdpatterns.ports.engine.batcher import Batcher, One, TaskBatcher, ThreadBatcher, Work
from sdpatterns.ports.engine.failures import Lost, NotSent

__all__ = ["MANY", "Lines", "behind"]

MANY = "steps on several cells"
"""The line in which these wait; no cell is called so, because cells have other names than texts."""


def behind(error: BaseException) -> NotSent | None:
    """What those get who wait behind a call that failed so; None where they may try for themselves."""
    # A lost reply alone is no reason to fail them: the next connection may be in order.
    if isinstance(error, Lost) and (isinstance(error, NotSent) or error.is_late):
        return NotSent(error.cause, late=error.is_late)
    return None


class Lines:
    """The lines of one event loop (or, where `loop` is None, of all threads). A line without work is forgotten."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None, *, at_most: int = 256) -> None:
        self._loop = loop
        self._most = at_most
        self._writers: dict[Hashable, Batcher[Any, Any]] = {}

    def batcher(
        self, work: Work[Any, Any], at_rest: Callable[[], object] = bool, one: One[Any, Any] | None = None
    ) -> Batcher[Any, Any]:
        """What folds the callers of this loop, or of the threads, in one line."""
        if self._loop is None:
            return ThreadBatcher(work, at_most=self._most, behind=behind)
        return TaskBatcher(work, at_most=self._most, one=one, behind=behind, at_rest=at_rest)

    async def run(self, line: Hashable, step: Any, work: Work[Any, Any], one: One[Any, Any] | None = None) -> Any:
        """What `work` makes of the step, alone or with others in the same line. For `one` see `TaskBatcher`."""
        # A batcher exists only while its line has work, because a program has more keys than it uses at a time.
        writer = self._writers.get(line)
        if writer is None:
            forget = functools.partial(self._writers.pop, line, None)
            writer = self._writers.setdefault(line, self.batcher(work, forget, one))
        try:
            return await writer.run(step)
        finally:
            # Among threads two batchers of one line may overlap for a moment. Their writes then race like those
            # of two processes.
            if writer.idle and self._writers.get(line) is writer:
                self._writers.pop(line, None)

    def send_away(self, line: Hashable, away: NotSent) -> None:
        """Fail those who wait in this line."""
        writer = self._writers.get(line)
        if writer is not None:
            writer.send_away(lambda _: NotSent(away.cause))

    @property
    def waiting(self) -> int:
        """How many steps wait in all lines."""
        return sum(writer.waiting for writer in tuple(self._writers.values()))
