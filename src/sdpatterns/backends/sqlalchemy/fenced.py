"""A row that refuses a late holder: its fence is compared and raised in the caller's own transaction."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Column, ColumnElement, Connection, CursorResult, Row, Table, Update, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from sdpatterns.errors import StaleFence

__all__ = ["FencedRows"]


class FencedRows:
    """Reads and writes single rows of a table for the holder of a lease, and refuses an older one.

    `table` has a column (`fence`, a 64-bit integer that is not null and begins with 0) for the largest fence that a
    row has seen. `where` selects one row.

    **Keeps**: once a holder has read or written a row, no holder with a smaller fence does either; the row stays locked
    until the caller's transaction ends, so that what it read is still so when it writes.
    **May fail** with `StaleFence`: roll back, because a newer holder is at work. `LookupError` where there is no such
    row. **Costs** one statement to write and two to read.

    ```python
    accounts = FencedRows(account_table)

    async with payout.guard(seller) as held, AsyncSession(engine) as session, session.begin():
        row = await accounts.read(session, held.fence, account_table.c.id == seller)
        await accounts.write(session, held.fence, account_table.c.id == seller, balance=row.balance - 5)
    ```

    The methods that end in `_now` are for sessions and connections that are used without `await`.
    """

    def __init__(self, table: Table, *, column: str = "fence") -> None:
        if column not in table.c:
            raise ValueError(f"table {table.name!r} has no column {column!r} for the fence")
        self._table = table
        self._fence: Column[int] = table.c[column]

    async def read(self, session: AsyncSession | AsyncConnection, fence: int, where: ColumnElement[bool]) -> Row[Any]:
        """The row, after its fence was raised."""
        return await session.run_sync(lambda inside: self.read_now(inside, fence, where))

    async def write(
        self, session: AsyncSession | AsyncConnection, fence: int, where: ColumnElement[bool], **values: Any
    ) -> None:
        """Set columns of the row."""
        await session.run_sync(lambda inside: self.write_now(inside, fence, where, **values))

    def read_now(self, session: Session | Connection, fence: int, where: ColumnElement[bool]) -> Row[Any]:
        """`read` without an await."""
        # The update comes first: it locks the row, so that no other caller writes it before this one does.
        self._carried_out(session, fence, where, self._raised(fence, where))
        return session.execute(select(self._table).where(where)).one()

    def write_now(self, session: Session | Connection, fence: int, where: ColumnElement[bool], **values: Any) -> None:
        """`write` without an await."""
        self._carried_out(session, fence, where, self._raised(fence, where).values(**values))

    def _raised(self, fence: int, where: ColumnElement[bool]) -> Update:
        return update(self._table).where(where, self._fence <= fence).values({self._fence: fence})

    def _carried_out(
        self, session: Session | Connection, fence: int, where: ColumnElement[bool], statement: Update
    ) -> None:
        if cast("CursorResult[Any]", session.execute(statement)).rowcount:
            return
        seen = session.execute(select(self._fence).where(where)).scalar_one_or_none()
        if seen is None:
            raise LookupError(f"table {self._table.name!r} has no such row, or its fence is null")
        raise StaleFence(self._table.name, presented=fence, seen=seen)
