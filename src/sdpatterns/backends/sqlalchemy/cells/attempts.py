"""Batches of steps as attempts of the engine: what a failure of SQLAlchemy's means for them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from sdpatterns.backends.sqlalchemy.cells.batch import CellTable, StepBatch, Sweeper
from sdpatterns.backends.sqlalchemy.engine.connections import Connections
from sdpatterns.backends.sqlalchemy.engine.failures import lost_reply, unavailable
from sdpatterns.backends.sqlalchemy.engine.judging import judge_failure
from sdpatterns.core import clock
from sdpatterns.core.runtime import Runtime, current
from sdpatterns.errors import SdpatternsError
from sdpatterns.ports.engine.execute import Races
from sdpatterns.ports.engine.failures import Lost
from sdpatterns.ports.engine.steps import PendingStep
from sdpatterns.ports.engine.versioned import Conflict, names_of

__all__ = ["SQLAttempts", "fate_behind"]


class SQLAttempts:
    """See `Attempts`: each is a batch on the connection that is kept for that, or in its turn on one of its own."""

    def __init__(self, connections: Connections, table: CellTable) -> None:
        self.connections = connections
        self._table = table
        self._sweeper = Sweeper(table)

    @property
    def shown(self) -> str:
        """The database's URL."""
        return self.connections.shown

    @property
    def runtime(self) -> Runtime:
        """How to wait."""
        return current()

    def random(self) -> float:
        """Between 0 and 1."""
        return random.random()

    async def attempt(self, steps: Sequence[PendingStep], races: Races, /) -> Conflict | None:
        """All steps once."""
        connections, began = self.connections, clock.SYSTEM.monotonic()
        # In its turn a batch locks its rows. What only reads does not, because it would make writers wait.
        in_turn = races.want_turn
        batch = StepBatch(self._table, steps, self._sweeper, hold=in_turn and not all(step.reads for step in steps))
        try:
            with connections.usage:
                await (connections.run_apart(batch) if in_turn else connections.run(batch))
        except Exception as error:  # noqa: BLE001 - judged, and raised unless two clients met
            return Conflict(names_of(steps), held_by=judge_failure(error, batch, connections, began))
        return batch.conflict

    def unavailable(self, cause: BaseException | str, /) -> SdpatternsError:
        """The exception for a step that did not happen."""
        return unavailable(self.shown, _error(cause))

    def unknown(self, cause: BaseException | str, /) -> SdpatternsError:
        """The exception for a step that may have happened."""
        return lost_reply(self.shown, _error(cause))


def _error(cause: BaseException | str) -> BaseException:
    return RuntimeError(cause) if isinstance(cause, str) else cause


def fate_behind(shown: str, late: Lost) -> Callable[[PendingStep], Exception | None]:
    """What becomes of a step that waits behind those to which nothing answered in time: its error, or None.

    Else each batch of a server that is frozen would wait for as long again. What only reads has its turn
    where it is another writer that took too long.
    """

    def fate(step: PendingStep) -> Exception | None:
        if step.reads and not isinstance(late.cause, TimeoutError):
            return None
        away = unavailable(shown, _error(late.cause))
        step.fail(away)
        return away

    return fate
