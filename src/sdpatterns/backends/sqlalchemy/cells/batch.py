"""Steps on cells as one unit of work, and what a database has to offer for them: a `CellTable`."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Protocol

from sdpatterns.backends.sqlalchemy.cells.rows import Place
from sdpatterns.backends.sqlalchemy.engine.transactions import Transaction
from sdpatterns.core.step import UNCHANGED
from sdpatterns.ports.engine.steps import Change, PendingStep, Snapshot
from sdpatterns.ports.engine.versioned import Conflict, attempt, names_of

__all__ = ["CellTable", "StepBatch", "Sweeper"]

_SWEEP_EVERY = 256


class CellTable(Protocol):
    """The statements on the table of cells."""

    async def hold(self, tx: Transaction, places: Sequence[Place], wait_max_s: float | None, /) -> None:
        """Lock the rows that exist, waiting for those that hold one, up to a bound of the connection or this one."""

    def read(self, tx: Transaction, places: Sequence[Place], /) -> Coroutine[Any, Any, Snapshot]:
        """The cells, and the store's time after they were read."""
        ...

    async def write(self, tx: Transaction, changes: Sequence[Change], topics: Sequence[str], /) -> Collection[Place]:
        """Make the changes whose cells nobody changed meanwhile; the places of the others.

        `topics` belong to no change: a database whose clients look for a change has to make one for them.
        """
        ...

    async def sweep(self, tx: Transaction, limit: int, /) -> int:
        """Delete up to `limit` cells whose time has passed; how many."""
        ...


class Sweeper:
    """Sweeps a little whenever enough new rows were made, so that garbage never outgrows what lives."""

    def __init__(self, table: CellTable) -> None:
        self._table = table
        self._made = 0

    async def after(self, made: int, tx: Transaction) -> None:
        """Sweep if it is time to. Fails in silence: the next unit finds out what is wrong."""
        self._made += made
        if self._made >= _SWEEP_EVERY:
            self._made = 0
            with contextlib.suppress(Exception):
                await self._table.sweep(tx, 2 * _SWEEP_EVERY)


class StepBatch:
    """See `Unit`, and `VersionedMap` for the rows of its cells. The steps of one flush, and how far it got.

    `conflict` names the cells that others wrote first. `hold` says that the rows are to be locked, waiting for
    those that hold one. `sweeper` is None where the transaction is the caller's.
    """

    __slots__ = (
        "_hold", "_in_transaction", "_made", "_sweeper", "_table", "_tx",
        "conflict", "doubt", "fresh", "is_whole", "reads", "steps", "topics",
    )  # fmt: skip

    def __init__(
        self, table: CellTable, steps: Sequence[PendingStep], sweeper: Sweeper | None = None, *, hold: bool = False
    ) -> None:
        self.steps = steps
        self.reads = True
        self.is_whole = hold
        for step in steps:
            if not step.reads:
                self.reads = False
                # One statement compares and writes all rows, but each row by itself.
                self.is_whole = self.is_whole or len(step.names) > 1
        self.conflict: Conflict | None = None
        self.doubt = False
        self.fresh = False
        self.topics: Sequence[str] = ()
        self._table = table
        self._sweeper = sweeper
        self._hold = hold
        self._made = 0

    async def run(self, tx: Transaction, /, *, in_transaction: bool) -> bool:
        """Read, apply, write; whether all of it is written."""
        self._tx, self._in_transaction = tx, in_transaction
        self.topics = ()
        if self._hold:
            await self._table.hold(tx, sorted(names_of(self.steps)), self._wait_max_s())
        self.conflict = await attempt(self, self.steps)
        if self.conflict is not None and in_transaction:
            # All or nothing: a step on several cells may be among them.
            self.conflict = Conflict(names_of(self.steps))
            self.topics = ()
        return self.conflict is None

    async def clean_up(self, tx: Transaction, /) -> None:
        """Sweep, if enough rows were made."""
        if self._sweeper is not None and self._made:
            await self._sweeper.after(self._made, tx)

    def _wait_max_s(self) -> float | None:
        """How long the caller with the least time left may wait for a row; None where none has a deadline."""
        if self._sweeper is None:
            # A caller's own transaction keeps its own bound on waits.
            return None
        lefts_s = [left_s for left_s in (step.left_s for step in self.steps) if left_s is not None]
        return max(0.0, min(lefts_s)) if lefts_s else None

    def read(self, names: Sequence[Any], /) -> Coroutine[Any, Any, Snapshot]:
        """The cells."""
        # In the one order in which all callers lock them.
        return self._table.read(self._tx, sorted(names))

    async def write(self, changes: Sequence[Change], topics: Sequence[str], /) -> Conflict | None:
        """The changes."""
        told, self._made = list(topics), 0
        for change in changes:
            told += change.topics
            self._made += change.expected is None and change.payload is not UNCHANGED
        self.topics = told
        # Without a transaction the write commits itself, so that its lost reply leaves it in doubt.
        self.doubt = not self._in_transaction
        lost = await self._table.write(self._tx, changes, topics)
        self.doubt = False
        if not lost:
            return None
        self.topics = [*topics, *[topic for change in changes if change.key not in lost for topic in change.topics]]
        return Conflict(lost)
