"""The provider's own book."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Column, Integer, MetaData, Row, Table, Text, func, select, update
from sqlalchemy.dialects.sqlite import insert

from shop.database import Database
from shop.psp.domain import Charge

SCHEMA = MetaData()
_charges = Table(
    "charges",
    SCHEMA,
    Column("charge_id", Text, primary_key=True),
    Column("idempotency_key", Text, unique=True, nullable=False),
    Column("order_id", Text, nullable=False, index=True),
    Column("amount_minor", Integer, CheckConstraint("amount_minor > 0"), nullable=False),
    Column("refunded_minor", Integer, CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor"), nullable=False),
    Column("at", Text, nullable=False),
)


class Book:
    """Charges in SQLite: one line per idempotency key, whatever is sent again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def charge(self, key: str, charge: Charge) -> tuple[Charge, bool]:
        """Book a charge, or find the one booked under the same key; says whether it is new."""
        write = insert(_charges).values(idempotency_key=key, **charge._asdict()).on_conflict_do_nothing()
        async with self._database.write() as connection:
            booked = (await connection.execute(write)).rowcount == 1
            row = (await connection.execute(select(_charges).where(_charges.c.idempotency_key == key))).one()
        return _charge(row), booked

    async def refund(self, charge_id: str) -> Charge | None:
        """Refund a charge in full; doing it again changes nothing. None for a charge that is not here."""
        same = _charges.c.charge_id == charge_id
        async with self._database.write() as connection:
            await connection.execute(update(_charges).where(same).values(refunded_minor=_charges.c.amount_minor))
            row = (await connection.execute(select(_charges).where(same))).one_or_none()
        return None if row is None else _charge(row)

    async def of_order(self, order_id: str) -> list[Charge]:
        """All charges of an order."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(_charges).where(_charges.c.order_id == order_id))
            return [_charge(row) for row in rows]

    async def ledger(self, after: str, limit: int) -> list[dict[str, Any]]:
        """What was charged and refunded, order by order, in the order of their ids."""
        sums = (
            func.count().label("charges"),
            func.sum(_charges.c.amount_minor).label("amount_minor"),
            func.sum(_charges.c.refunded_minor).label("refunded_minor"),
        )
        query = select(_charges.c.order_id, *sums).where(_charges.c.order_id > after)
        query = query.group_by(_charges.c.order_id).order_by(_charges.c.order_id).limit(limit)
        async with self._database.read() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]


def _charge(row: Row[Any]) -> Charge:
    return Charge(row.charge_id, row.order_id, row.amount_minor, row.refunded_minor, row.at)
