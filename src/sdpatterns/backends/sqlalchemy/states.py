"""Cells in a table."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from itertools import repeat
from typing import Any, TypeVar

from sdpatterns.backends.sqlalchemy.cells.rows import stored_text
from sdpatterns.backends.sqlalchemy.resources import SQLResources
from sdpatterns.core.runtime import Runtime, current
from sdpatterns.core.tracing import TRACERS, Value, stepped_in_span
from sdpatterns.ports.engine.execute import losers_of
from sdpatterns.ports.engine.steps import Drop, PendingStep
from sdpatterns.ports.states import Cells, Space
from sdpatterns.ports.timekeeping import SERVER, StoreClock

__all__ = ["SQLStates", "name_cells"]

S = TypeVar("S")

_RACES_MAX = 2
_PAUSE_MAX_S = 0.05

# A program has few spaces, and each step names one.
_stored_space = lru_cache(1024)(stored_text)


def name_cells(step: PendingStep) -> None:
    """Give a step the names of its cells in the table."""
    step.names = tuple(zip(repeat(_stored_space(step.space.name)), map(stored_text, step.keys)))


class SQLStates:
    """Keeps state in a SQL database: see `StateStore`.

    `keys_max` of a space does not apply: the rows are bounded by `sweep`, and the disk is the limit.
    Costs: on SQLite one hop to the writer's thread and one transaction for all steps of a loop turn;
    on Postgres two statements for all of them, four where a step has several cells.
    """

    clock: StoreClock = SERVER

    def __init__(
        self,
        runtime: Runtime,
        here: Callable[[], SQLResources],
        random: Callable[[], float],
        facts: Mapping[str, Value],
    ) -> None:
        self.runtime: Runtime | None = runtime
        self._here = here
        self._random = random
        self._facts = facts

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of a space."""
        return Cells(space, self.run)

    def run(self, step: PendingStep) -> Coroutine[Any, Any, Any]:
        """Make one step, and give its answer."""
        name_cells(step)
        if not TRACERS or not step.keys:  # what touches no cell is an announcement, not a step
            return self._run(step)
        # A statement carries the steps of many callers, so that no span of one of them could hold its own.
        return stepped_in_span(_verb(step), step.space.name, self._facts, self._run(step))

    async def _run(self, step: PendingStep) -> Any:
        here, lost = self._here(), 0
        while True:
            # Each step tries without a lock first: one that changes nothing needs no turn on a row that is held.
            if lost >= _RACES_MAX and here.queues is not None and not step.reads:
                await here.queues.run(step)
            else:
                # What only reads takes no turn, and must not wait together with what does.
                try:
                    await (here.batches.run_apart(step) if step.reads and lost else here.batches.run(step))
                except InterruptedError:
                    # The thread that led was interrupted; what became of this step stands in it.
                    if not step.done:
                        raise
            if not (step.conflicted and losers_of(here.attempts, [step])):
                return step.result()
            if lost:
                await current().sleep(self._random() * min(_PAUSE_MAX_S, 0.001 * 2.0 ** min(lost, 16)))
            step.renew()
            lost += 1


def _verb(step: PendingStep) -> str:
    if step.reads:
        return "read"
    if isinstance(step.transition, Drop):
        return "delete"
    return "transact" if len(step.keys) == 1 else "transact_many"
