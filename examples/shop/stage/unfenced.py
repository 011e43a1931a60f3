"""Rows that take what every holder writes: the undefended way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, select, update
from sqlalchemy.orm import Session

from sdpatterns.backends.sqlalchemy.fenced import FencedRows


class UnfencedRows(FencedRows):
    """Reads and writes single rows of a table, and neither looks at a fence nor raises it."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._rows = table

    def read_now(self, session: Session | Connection, fence: int, where: ColumnElement[bool]) -> Row[Any]:
        """The row."""
        return session.execute(select(self._rows).where(where)).one()

    def write_now(self, session: Session | Connection, fence: int, where: ColumnElement[bool], **values: Any) -> None:
        """Set columns of the row."""
        session.execute(update(self._rows).where(where).values(**values))
