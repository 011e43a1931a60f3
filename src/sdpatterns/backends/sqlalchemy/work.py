"""One batch of steps on one connection: the same function for an engine with and without a loop.

It runs on a blocking connection, in the thread that owns the SQLite file, on a loop's connection, and on the
caller's own for `within`. Only asyncpg makes it suspend. What differs between databases is a `Speech`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.rows import Place
from sdpatterns.backends.sqlalchemy.transactions import Transaction
from sdpatterns.core.step import UNCHANGED
from sdpatterns.ports.engine.steps import Change, PendingStep, Snapshot
from sdpatterns.ports.engine.versioned import Conflict, attempt, names_of

__all__ = ["Batch", "Broom", "Speech", "run_batch", "run_steps"]

_SWEEP_EVERY = 256


class Batch:
    """The steps of one flush, and how far it got.

    `conflict` names the cells that others wrote first. `doubt` is set while a write is on its way whose
    reply would be the only news of it. `fresh` says that the connection was made for this batch, so that
    its failure is no old connection's. `hold` says that the rows are to be locked, waiting for those that
    hold one. `is_ours` says that the transaction is not the caller's.
    """

    __slots__ = ("conflict", "doubt", "fresh", "hold", "is_ours", "made", "steps", "topics")

    def __init__(self, steps: Sequence[PendingStep], *, hold: bool = False, is_ours: bool = True) -> None:
        self.steps = steps
        self.is_ours = is_ours
        self.hold = hold
        self.conflict: Conflict | None = None
        self.doubt = False
        self.fresh = False
        self.made = 0
        self.topics: list[str] = []

    def wait_max_s(self) -> float | None:
        """How long the caller with the least time left may wait for a row; None where none has a deadline."""
        lefts_s = [left_s for left_s in (step.left_s for step in self.steps) if left_s is not None]
        return max(0.0, min(lefts_s)) if lefts_s else None


class Speech(Protocol):
    """What one database understands. `shift_us` moves its time, for tests."""

    database: str
    shift_us: int
    notifies: bool
    """Whether the database itself announces the topics of a write to other clients."""

    def begin(self, batch: Batch, /) -> str | None:
        """How to begin the transaction that the batch needs; None where one statement is enough."""

    def begin_alone(self, connection: Connection, /) -> None:
        """Begin a transaction that waits for every other one begun like this."""

    def join(self, connection: Connection, /) -> None:
        """Make sure that the caller's transaction has begun in the database as well."""

    async def prepare(self, tx: Transaction, /) -> None:
        """Set up the connection on which batches run one after another."""

    async def hold(self, tx: Transaction, places: Sequence[Place], wait_max_s: float | None, /) -> None:
        """Lock the rows that exist, waiting for those that hold one, up to a bound of the connection or this one."""

    async def read(self, tx: Transaction, places: Sequence[Place], /) -> Snapshot:
        """The cells, and the store's time after they were read."""
        ...

    async def write(self, tx: Transaction, changes: Sequence[Change], topics: Sequence[str], /) -> Collection[Place]:
        """Make the changes whose cells nobody changed meanwhile and announce; the places of the others."""
        ...

    async def sweep(self, tx: Transaction, limit: int, /) -> int:
        """Delete up to `limit` cells whose time has passed; how many."""
        ...


class Broom:
    """Sweeps a little whenever enough new rows were made, so that garbage never outgrows what lives."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._made = 0

    async def after(self, batch: Batch, tx: Transaction) -> None:
        """Sweep if it is time to. Fails in silence: the next batch finds out what is wrong."""
        self._made += batch.made
        if self._made >= _SWEEP_EVERY:
            self._made = 0
            with contextlib.suppress(Exception):
                await self._speech.sweep(tx, 2 * _SWEEP_EVERY)


async def run_batch(speech: Speech, tx: Transaction, batch: Batch) -> None:
    """Run the batch on a connection that commits each statement by itself.

    After an exception the connection is of no more use: to close it ends a transaction more surely than `ROLLBACK`,
    which a server that no longer answers would not answer either.
    """
    begin = speech.begin(batch)
    if begin is None:
        await run_steps(speech, tx, batch)
        return
    await tx.execute(begin)
    await run_steps(speech, tx, batch, in_transaction=True)
    batch.doubt = batch.conflict is None
    await tx.execute("COMMIT" if batch.doubt else "ROLLBACK")
    batch.doubt = False
    if batch.conflict is not None:
        # All or nothing: a step on several cells may be among them.
        batch.conflict = Conflict(names_of(batch.steps))


async def run_steps(speech: Speech, tx: Transaction, batch: Batch, *, in_transaction: bool = False) -> None:
    """Read, apply, write. A transaction around it may still fail as a whole."""
    if batch.hold:
        # A caller's own transaction keeps its own bound on waits.
        await speech.hold(tx, sorted(names_of(batch.steps)), batch.wait_max_s() if batch.is_ours else None)
    batch.conflict = await attempt(_Rows(speech, tx, batch, in_transaction), batch.steps)


class _Rows:
    """See `VersionedMap`: the rows of the table, for one batch."""

    __slots__ = ("_batch", "_in_transaction", "_speech", "_tx")

    def __init__(self, speech: Speech, tx: Transaction, batch: Batch, in_transaction: bool) -> None:  # noqa: FBT001
        self._speech = speech
        self._tx = tx
        self._batch = batch
        self._in_transaction = in_transaction

    async def read(self, names: Sequence[Any], /) -> Snapshot:
        # In the one order in which all callers lock them.
        return await self._speech.read(self._tx, sorted(names))

    async def write(self, changes: Sequence[Change], topics: Sequence[str], /) -> Conflict | None:
        batch = self._batch
        batch.topics = [*topics, *(topic for change in changes for topic in change.topics)]
        batch.made = sum(1 for change in changes if change.expected is None and change.payload is not UNCHANGED)
        # Without a transaction the write commits itself, so that its lost reply leaves it in doubt.
        batch.doubt = not self._in_transaction
        lost = await self._speech.write(self._tx, changes, topics)
        batch.doubt = False
        return Conflict(lost) if lost else None
