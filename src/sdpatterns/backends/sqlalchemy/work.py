"""One batch of steps on one connection: the same function for an engine with and without a loop.

It runs on a blocking connection, in the thread that owns the SQLite file, inside `run_sync`, and on
the caller's own connection for `within`. What differs between databases is a `Speech`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from sdpatterns.backends.sqlalchemy.calls import Call, Cell, Place, decide_all

__all__ = ["Batch", "Broom", "Speech", "run_batch", "run_steps"]

_SWEEP_EVERY = 256


class Batch:
    """The calls of one flush, and how far it got.

    `doubt` is set while a write is on its way whose reply would be the only news of it. `fresh`
    says that the connection was made for this batch, so that its failure is no old connection's.
    """

    __slots__ = ("calls", "doubt", "fresh", "hold", "made", "topics")

    def __init__(self, calls: Sequence[Call], *, hold: bool = False) -> None:
        self.calls = calls
        self.hold = hold
        self.doubt = False
        self.fresh = False
        self.made = 0
        self.topics: list[str] = []

    def places(self) -> list[Place]:
        """The cells it touches, in the one order in which all callers lock them."""
        return sorted({place for call in self.calls for place in call.places})


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

    def prepare(self, connection: Connection, /) -> None:
        """Set up the connection on which batches run one after another."""

    def hold(self, connection: Connection, places: Sequence[Place], /) -> None:
        """Lock the rows that exist, waiting for those that hold one, up to a bound."""

    def read(self, connection: Connection, places: Sequence[Place], /) -> tuple[dict[Place, Cell], int]:
        """The cells, and the store's time after they were read."""
        ...

    def write(self, connection: Connection, changed: Sequence[Cell], topics: Sequence[str], /) -> set[Place]:
        """Write the cells that nobody changed meanwhile and announce; the places of the others."""
        ...

    def sweep(self, connection: Connection, limit: int, /) -> int:
        """Delete up to `limit` cells whose time has passed; how many."""
        ...


class Broom:
    """Sweeps a little whenever enough new rows were made, so that garbage never outgrows what lives."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._made = 0

    def after(self, batch: Batch, connection: Connection) -> None:
        """Sweep if it is time to. Fails in silence: the next batch finds out what is wrong."""
        self._made += batch.made
        if self._made >= _SWEEP_EVERY:
            self._made = 0
            with contextlib.suppress(SQLAlchemyError):
                self._speech.sweep(connection, 2 * _SWEEP_EVERY)


def run_batch(speech: Speech, connection: Connection, batch: Batch) -> None:
    """Run the batch on a connection that commits each statement by itself."""
    begin = speech.begin(batch)
    if begin is None:
        _lose(batch, run_steps(speech, connection, batch))
        return
    connection.exec_driver_sql(begin)
    try:
        lost = run_steps(speech, connection, batch)
        batch.doubt = not lost
        connection.exec_driver_sql("ROLLBACK" if lost else "COMMIT")
    except BaseException:
        with contextlib.suppress(SQLAlchemyError):
            connection.exec_driver_sql("ROLLBACK")
        raise
    batch.doubt = False
    if lost:
        # All or nothing: a step on several cells may be among them.
        lost = {place for call in batch.calls for place in call.places}
    _lose(batch, lost)


def run_steps(speech: Speech, connection: Connection, batch: Batch) -> set[Place]:
    """Read, decide, write; the places that another caller wrote first."""
    places = batch.places()
    if batch.hold:
        speech.hold(connection, places)
    cells, now_us = speech.read(connection, places)
    topics = decide_all(batch.calls, cells, now_us)
    changed = [cell for cell in cells.values() if cell.must_be_written]
    for cell in cells.values():
        if not cell.must_be_written:
            topics += cell.topics
    if not changed and not topics:
        return set()
    batch.topics = [*topics, *(topic for cell in changed for topic in cell.topics)]
    batch.made = sum(1 for cell in changed if cell.is_fresh)
    batch.doubt = speech.begin(batch) is None
    lost = speech.write(connection, changed, topics)
    batch.doubt = False
    return lost


def _lose(batch: Batch, lost: set[Place]) -> None:
    for call in batch.calls:
        call.lost = any(place in lost for place in call.places)
        call.done = True
