"""How the steps of many callers become one batch on a connection: see `sdpatterns.ports.engine.batcher`.

```
threads             the thread that leads runs the batch
tasks on Postgres   a task of its own runs it: a caller that is cancelled must not break the connection
tasks on SQLite     that task has the writer's thread run it, one hop for the whole batch
```
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

from sdpatterns.backends.sqlalchemy.cells.attempts import SQLAttempts, fate_behind
from sdpatterns.core.runtime import finish
from sdpatterns.ports.engine.batcher import Batcher, TaskBatcher, ThreadBatcher, Work
from sdpatterns.ports.engine.execute import Races, send
from sdpatterns.ports.engine.failures import Lost
from sdpatterns.ports.engine.steps import PendingStep

__all__ = ["Batches"]

_BATCH_MAX = 512

Carry: TypeAlias = Callable[[Sequence[PendingStep], Races], Coroutine[Any, Any, "Lost | None"]]
"""Runs steps once, as `send` does; the failure where the database did not answer in time."""

InThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in the thread that owns the file, and gives its result."""


class Batches:
    """Takes steps and ends them: each has its answer, its error, or has lost a race."""

    def __init__(
        self,
        attempts: SQLAttempts,
        carry: Carry,
        batcher: Callable[[Work[PendingStep, None]], Batcher[PendingStep, None]],
    ) -> None:
        self._attempts = attempts
        self._carry = carry
        self._batcher = batcher(self._together)
        # Not a method of its own: each coroutine between a caller and the driver is resumed for its reply.
        self.run: Callable[[PendingStep], Coroutine[Any, Any, None]] = self._batcher.run
        """Runs a step with whatever else waits."""

    @classmethod
    def of_threads(cls, attempts: SQLAttempts) -> Batches:
        """For threads."""
        return cls(attempts, _here(attempts), lambda work: ThreadBatcher(work, at_most=_BATCH_MAX))

    @classmethod
    def of_tasks(cls, attempts: SQLAttempts, in_thread: InThread | None = None) -> Batches:
        """For the tasks of the running loop; on SQLite with the thread that owns the file."""
        carried = _here(attempts) if in_thread is None else _there(attempts, in_thread)
        return cls(attempts, carried, lambda work: TaskBatcher(work, at_most=_BATCH_MAX, alone="in a task"))

    @property
    def waiting(self) -> int:
        """How many steps wait for the next batch."""
        return self._batcher.waiting

    async def run_apart(self, step: PendingStep, /) -> None:
        """Alone, waiting for its rows."""
        await self._carry([step], Races(in_turn=True))

    async def _together(self, steps: Sequence[PendingStep]) -> Sequence[None]:
        late = await self._carry(steps, Races())
        if late is not None:
            self._batcher.send_away(fate_behind(self._attempts.shown, late))
        return [None] * len(steps)


def _here(attempts: SQLAttempts) -> Carry:
    return partial(send, attempts)


def _there(attempts: SQLAttempts, in_thread: InThread) -> Carry:
    async def carried(steps: Sequence[PendingStep], races: Races) -> Lost | None:
        def job() -> Lost | None:
            try:
                return finish(send(attempts, steps, races))
            except Exception:
                raise
            except BaseException:  # noqa: BLE001 - a KeyboardInterrupt in a step: each step knows what became of it
                return None

        late: Lost | None = await in_thread(job)
        return late

    return carried
