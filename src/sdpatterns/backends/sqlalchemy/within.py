"""The ports on the caller's own transaction."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from sdpatterns.backends.sqlalchemy.cells.batch import CellTable, StepBatch
from sdpatterns.backends.sqlalchemy.engine.dialect import Announce, Dialect
from sdpatterns.backends.sqlalchemy.engine.requests import RequestUnit, VerbRequest, VerbTable
from sdpatterns.backends.sqlalchemy.engine.transactions import Transaction, ViewTransaction
from sdpatterns.backends.sqlalchemy.events.flushes import event_unit
from sdpatterns.backends.sqlalchemy.events.rows import OtherVersion
from sdpatterns.backends.sqlalchemy.log import DEFAULT_LOG, StoredLog
from sdpatterns.backends.sqlalchemy.messages.flushes import message_unit
from sdpatterns.backends.sqlalchemy.queue import DEFAULT, StoredQueue
from sdpatterns.backends.sqlalchemy.resources import Tables
from sdpatterns.backends.sqlalchemy.states import name_cells
from sdpatterns.core.runtime import ASYNCIO, BLOCKING, Runtime, finish
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.steps import PendingStep
from sdpatterns.ports.log import LIMIT, LogPage, LogSettings
from sdpatterns.ports.log_subscription import LogSubscription
from sdpatterns.ports.queue import Claimed, QueueSettings
from sdpatterns.ports.states import Cells, Space
from sdpatterns.ports.timekeeping import SERVER, StoreClock

__all__ = ["CallerTransaction", "SQLView", "ViewLog", "ViewQueue", "ViewStates"]

S = TypeVar("S")

CallerTransaction: TypeAlias = Session | Connection | AsyncSession | AsyncConnection

_RINGS = "sdpatterns_rings"


class SQLView:
    """What a backend offers inside one transaction of the caller's.

    **Keeps**: a step is seen by others when the caller commits, and undone when the caller rolls
    back; topics are announced after the commit. **May fail** with SQLAlchemy's own exceptions, as any
    statement of that transaction; nothing is repeated. **Costs**: a savepoint, a lock on the row
    until the transaction ends (on SQLite: the file's write lock), a read and a write.

    A plain connection, and a session that was given one, do not say when they commit. There Postgres
    itself announces the topics, with one more statement, and such commits wait for each other.

    Without `savepoints` a queue and a log need two statements less each time. Then let what they raise end your
    transaction: on Postgres nothing more could be written in it. Cells have a savepoint all the same.
    """

    def __init__(
        self,
        dialect: Dialect,
        tables: Tables,
        transaction: CallerTransaction,
        announce_here: Callable[[], Announce | None],
        *,
        savepoints: bool = True,
    ) -> None:
        self.states = ViewStates(dialect, tables.cells, transaction, announce_here)
        place = _Place(dialect, transaction, announce_here, savepoints=savepoints)
        self._queue = partial(ViewQueue, place, tables.messages)
        self._log = partial(ViewLog, place, tables.events)

    def queue(self, name: str, /, settings: QueueSettings = DEFAULT) -> ViewQueue:
        """The queue of that name, as this transaction sees it."""
        return self._queue(name, settings)

    def log(self, name: str, /, settings: LogSettings = DEFAULT_LOG) -> ViewLog:
        """The log of that name, as this transaction sees it."""
        return self._log(name, settings)


class ViewStates:
    """See `StateStore`."""

    clock: StoreClock = SERVER

    def __init__(
        self,
        dialect: Dialect,
        table: CellTable,
        transaction: CallerTransaction,
        announce_here: Callable[[], Announce | None],
    ) -> None:
        is_async = isinstance(transaction, AsyncSession | AsyncConnection)
        self.runtime: Runtime | None = ASYNCIO if is_async else BLOCKING
        self._dialect = dialect
        self._table = table
        self._transaction = transaction
        self._announce_here = announce_here

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of a space, as this transaction sees them."""
        return Cells(space, self._run)

    async def _run(self, step: PendingStep) -> Any:
        name_cells(step)
        batch = StepBatch(self._table, [step], hold=True)
        work = partial(self._work, batch)
        # One switch to SQLAlchemy's blocking side for all statements of the step.
        if isinstance(self._transaction, AsyncSession | AsyncConnection):
            await self._transaction.run_sync(work)
        else:
            work(self._transaction)
        return step.result()

    def _work(self, batch: StepBatch, inner: Session | Connection) -> None:
        connection = inner.connection() if isinstance(inner, Session) else inner
        # A savepoint of its own, so that a step that loses or raises leaves the caller's transaction usable.
        self._dialect.join(connection)
        [step], tx = batch.steps, ViewTransaction(connection)
        while True:
            with connection.begin_nested() as savepoint:
                finish(batch.run(tx, in_transaction=True))
                if batch.conflict is not None or step.error is not None:
                    savepoint.rollback()
            if batch.conflict is None:
                break
            # Another transaction made the row between the look and the write; now it is there to be held.
            if step.is_over:
                why = f"others wrote cells of {step.space.name!r} first each time"
                raise BackendUnavailable(f"the deadline has passed and nothing was written: {why}")
        if batch.topics:
            _announce(self._dialect, self._announce_here(), inner, tx, batch.topics)


class _Place:
    """The caller's transaction, as a place where requests to a queue or log are carried out."""

    def __init__(
        self,
        dialect: Dialect,
        transaction: CallerTransaction,
        announce_here: Callable[[], Announce | None],
        *,
        savepoints: bool,
    ) -> None:
        is_async = isinstance(transaction, AsyncSession | AsyncConnection)
        self.runtime: Runtime = ASYNCIO if is_async else BLOCKING
        self._dialect = dialect
        self._transaction = transaction
        self._announce_here = announce_here
        self._savepoints = savepoints

    async def carry(self, unit: RequestUnit) -> None:
        """Run the unit, and announce its topics when the caller commits."""
        work = partial(self._work, unit)
        if isinstance(self._transaction, AsyncSession | AsyncConnection):
            await self._transaction.run_sync(work)
        else:
            work(self._transaction)

    def _work(self, unit: RequestUnit, inner: Session | Connection) -> None:
        connection = inner.connection() if isinstance(inner, Session) else inner
        self._dialect.join(connection)
        tx = ViewTransaction(connection)
        # A savepoint of its own, so that a statement that fails leaves the caller's transaction usable.
        with connection.begin_nested() if self._savepoints else contextlib.nullcontext() as savepoint:
            finish(unit.run(tx, in_transaction=True))
            # And what was refused keeps no lock.
            if savepoint is not None and any(isinstance(answer, OtherVersion) for answer in unit.answers):
                savepoint.rollback()
        if unit.topics:
            _announce(self._dialect, self._announce_here(), inner, tx, unit.topics)


class ViewQueue(StoredQueue):
    """See `MessageQueue`: on the caller's transaction.

    **Keeps**: others see what is published when the caller commits, and never if it rolls back; so with what is
    settled. Publishing only inserts: no other transaction waits for it, but one that publishes to the same key.
    **May fail** with SQLAlchemy's own exceptions; nothing is repeated. **Costs**: a savepoint and one statement, two
    with keys.
    """

    def __init__(self, place: _Place, table: VerbTable, name: str, settings: QueueSettings) -> None:
        super().__init__(name, settings)
        self.runtime: Runtime | None = place.runtime
        self._place = place
        self._table = table

    async def _carry(self, request: VerbRequest) -> None:
        unit = message_unit(self._table, [request], math.inf)
        await self._place.carry(unit)
        request.end(unit.answers)

    def _give_back(self, claims: Sequence[Claimed]) -> None:
        """Nothing: the caller's transaction decides."""


class ViewLog(StoredLog):
    """See `EventLog`: on the caller's transaction.

    **Keeps**: others see the events when the caller commits, and never if it rolls back. Another writer of the same
    stream waits until then, one of another stream does not; readers of the whole log stop before these events
    meanwhile, so keep the transaction short. **May fail** with `VersionConflict`, and with SQLAlchemy's own
    exceptions; nothing is repeated. **Costs**: a savepoint and one statement.

    The whole log is read, subscribed to and trimmed outside of a transaction.
    """

    def __init__(self, place: _Place, table: VerbTable, name: str, settings: LogSettings) -> None:
        super().__init__(name, settings)
        self.runtime: Runtime | None = place.runtime
        self._place = place
        self._table = table

    async def _carry(self, request: VerbRequest) -> None:
        unit = event_unit(self._table, [request], math.inf)
        await self._place.carry(unit)
        request.end(unit.answers)

    async def read_all(self, after: int = 0, limit: int = LIMIT, /) -> LogPage:
        raise self._refusal("read_all")

    async def trim(self, before: int, /) -> int:
        raise self._refusal("trim")

    async def trim_stream(self, stream: str, before: int, /) -> int:
        raise self._refusal("trim_stream")

    def subscribe(self, after: int = 0, /) -> LogSubscription:
        raise self._refusal("subscribe")

    def _refusal(self, verb: str) -> TypeError:
        return TypeError(f"{verb} works outside of a transaction: backend.log({self.name!r}).{verb}(...)")


def _announce(
    dialect: Dialect, announce: Announce | None, inner: Session | Connection, tx: Transaction, topics: Sequence[str]
) -> None:
    """Announce once the caller has committed, and not after a rollback."""
    if announce is not None and isinstance(inner, Session):
        _at_commit(inner, partial(announce, topics))
        # One that was given a connection may commit before that connection's own transaction does.
        if isinstance(inner.get_bind(), Engine):
            return
    finish(dialect.notify_at_commit(tx, topics))


def _at_commit(session: Session, ring: Callable[[], None]) -> None:
    """Ring once the session's outermost transaction has committed, and not if it rolls back."""
    pending = session.info.get(_RINGS)
    if pending is None:
        # Once for the session's life: an event that removes itself breaks the round of events it is in.
        pending = session.info[_RINGS] = []
        event.listen(session, "after_commit", _committed)
        event.listen(session, "after_transaction_end", _ended)
    pending.append(ring)


def _committed(session: Session) -> None:
    if not session.in_nested_transaction():
        for ring in session.info[_RINGS]:
            ring()


def _ended(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info[_RINGS].clear()
