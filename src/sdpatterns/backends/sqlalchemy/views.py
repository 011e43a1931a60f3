"""The ports on the caller's own transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from sdpatterns.backends.sqlalchemy.calls import Call
from sdpatterns.backends.sqlalchemy.states import SQLCells
from sdpatterns.backends.sqlalchemy.work import Batch, Speech, run_steps
from sdpatterns.core.codec import Codec
from sdpatterns.core.runtime import ASYNCIO, BLOCKING, Runtime
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.states import KEYS_MAX, Overflow

__all__ = ["Transaction", "View", "ViewStates"]

S = TypeVar("S")

Transaction: TypeAlias = Session | Connection | AsyncSession | AsyncConnection

_LOSSES_MAX = 8
_RINGS = "sdpatterns_rings"


class View:
    """What a backend offers inside one transaction of the caller's.

    **Keeps**: a step is seen by others when the caller commits, and undone when the caller rolls
    back; topics are announced at the commit. **May fail** with SQLAlchemy's own exceptions, as any
    statement of that transaction; nothing is repeated. **Costs**: a savepoint, a lock on the row
    until the transaction ends (on SQLite: the file's write lock), a read and a write.
    """

    def __init__(self, speech: Speech, transaction: Transaction, ring: Callable[[Sequence[str]], None]) -> None:
        self.states = ViewStates(speech, transaction, ring)


class ViewStates:
    """See `StateStore`."""

    def __init__(self, speech: Speech, transaction: Transaction, ring: Callable[[Sequence[str]], None]) -> None:
        is_async = isinstance(transaction, AsyncSession | AsyncConnection)
        self.runtime: Runtime | None = ASYNCIO if is_async else BLOCKING
        self._speech = speech
        self._transaction = transaction
        self._ring = ring

    def cells(
        self,
        space: str,
        codec: Codec[S],
        /,
        *,
        group: str | None = None,
        keys_max: int = KEYS_MAX,
        overflow: Overflow = "share",
    ) -> SQLCells[S]:
        """The cells named `space`, as this transaction sees them."""
        return SQLCells(space, codec, self._run)

    async def _run(self, call: Call) -> Any:
        batch = Batch([call], hold=True)
        work = partial(self._work, batch)
        if isinstance(self._transaction, AsyncSession | AsyncConnection):
            await self._transaction.run_sync(work)
        else:
            work(self._transaction)
        return call.result()

    def _work(self, batch: Batch, inner: Session | Connection) -> None:
        connection = inner.connection() if isinstance(inner, Session) else inner
        self._speech.join(connection)
        for _ in range(_LOSSES_MAX):
            with connection.begin_nested() as savepoint:
                lost = run_steps(self._speech, connection, batch)
                if lost or batch.calls[0].error is not None:
                    savepoint.rollback()
            if not lost:
                break
        else:
            raise BackendUnavailable(f"{batch.places()} is rewritten by others all the time: the step did not happen")
        if batch.topics and not self._speech.notifies and isinstance(inner, Session):
            _at_commit(inner, partial(self._ring, batch.topics))


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
