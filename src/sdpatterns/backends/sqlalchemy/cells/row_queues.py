"""Where steps wait that lost a race for a row: one line for each set of cells, and one turn for all in it.

```
lost twice --> line of these cells --> one transaction: lock the rows, in order of arrival --> read, apply, write
```

The writers of one process never race each other here, and those of several processes queue at the row's
lock, which Postgres hands on in order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from sdpatterns.backends.sqlalchemy.cells.attempts import SQLAttempts
from sdpatterns.ports.engine.batcher import Batcher, TaskBatcher, ThreadBatcher
from sdpatterns.ports.engine.execute import Races, execute
from sdpatterns.ports.engine.steps import PendingStep

__all__ = ["RowQueues"]

_TOGETHER_MAX = 256


class RowQueues:
    """The lines of one loop, or of the threads of a program without one (`threads`)."""

    def __init__(self, attempts: SQLAttempts, *, threads: bool) -> None:
        self._attempts = attempts
        self._threads = threads
        self._lines: dict[Any, Batcher[PendingStep, PendingStep]] = {}

    async def run(self, step: PendingStep) -> None:
        """Together with the others that wait for the same cells. When this returns, the step is done."""
        names = step.names
        line = self._lines.get(names)
        if line is None:
            line = self._lines.setdefault(names, self._line(functools.partial(self._lines.pop, names, None)))
        try:
            await line.run(step)
        finally:
            # Among threads two lines may overlap for a moment; their transactions then queue at the row.
            if line.idle and self._lines.get(names) is line:
                self._lines.pop(names, None)

    def _line(self, forget: Callable[[], object]) -> Batcher[PendingStep, PendingStep]:
        if self._threads:
            return ThreadBatcher(self._in_turn, at_most=_TOGETHER_MAX)
        return TaskBatcher(self._in_turn, at_most=_TOGETHER_MAX, alone="in a task", at_rest=forget)

    async def _in_turn(self, steps: Sequence[PendingStep]) -> Sequence[PendingStep]:
        await execute(self._attempts, steps, Races(in_turn=True))
        return steps
