"""The provider's own book."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from shop.database import Database, insert_into
from shop.psp.domain import Charge, Visit

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
# When the book last changed for an order, so that a reader need not read it all again.
_changes = Table(
    "changes",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False, index=True),
)
_visits = Table(
    "visits",
    SCHEMA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("order_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("well", Boolean, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)


class Book:
    """Charges in SQL: one line per idempotency key, whatever is sent again; and who came, whatever became of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def visited(self, visit: Visit) -> None:
        """Note that a request came."""
        async with self._database.write() as connection:
            await connection.execute(insert(_visits).values(visit._asdict()))

    async def visits(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Who came, in order, after a number."""
        query = select(_visits).where(_visits.c.number > after).order_by(_visits.c.number).limit(limit)
        return [row._asdict() for row in await self._database.rows(query)]

    async def charge(self, key: str, charge: Charge, at_us: int) -> tuple[Charge, bool]:
        """Book a charge, or find the one booked under the same key; says whether it is new."""
        async with self._database.write() as connection:
            write = insert_into(_charges, connection).values(idempotency_key=key, **charge._asdict())
            write = write.on_conflict_do_nothing()
            booked = (await connection.execute(write)).rowcount == 1
            if booked:
                await _changed(connection, charge.order_id, at_us)
            row = (await connection.execute(select(_charges).where(_charges.c.idempotency_key == key))).one()
        return _charge(row), booked

    async def find(self, charge_id: str) -> Charge | None:
        """A charge."""
        rows = await self._database.rows(select(_charges).where(_charges.c.charge_id == charge_id))
        return _charge(rows[0]) if rows else None

    async def refund(self, charge_id: str, at_us: int) -> Charge | None:
        """Refund a charge in full; doing it again changes nothing. None for a charge that is not here."""
        same = _charges.c.charge_id == charge_id
        async with self._database.write() as connection:
            await connection.execute(update(_charges).where(same).values(refunded_minor=_charges.c.amount_minor))
            row = (await connection.execute(select(_charges).where(same))).one_or_none()
            if row is not None:
                await _changed(connection, row.order_id, at_us)
        return None if row is None else _charge(row)

    async def of_order(self, order_id: str) -> list[Charge]:
        """All charges of an order."""
        return [
            _charge(row) for row in await self._database.rows(select(_charges).where(_charges.c.order_id == order_id))
        ]

    async def ledger(self, after: str, limit: int, since_us: int = 0) -> list[dict[str, Any]]:
        """What was charged and refunded, order by order, in the order of their ids; perhaps only what changed since."""
        sums = (
            func.count().label("charges"),
            func.sum(_charges.c.amount_minor).label("amount_minor"),
            func.sum(_charges.c.refunded_minor).label("refunded_minor"),
        )
        query = select(_charges.c.order_id, *sums).where(_charges.c.order_id > after)
        if since_us:
            changed = select(_changes.c.order_id).where(_changes.c.at_us >= since_us)
            query = query.where(_charges.c.order_id.in_(changed))
        query = query.group_by(_charges.c.order_id).order_by(_charges.c.order_id).limit(limit)
        return [row._asdict() for row in await self._database.rows(query)]


async def _changed(connection: AsyncConnection, order_id: str, at_us: int) -> None:
    note = insert_into(_changes, connection).values(order_id=order_id, at_us=at_us)
    await connection.execute(note.on_conflict_do_update(index_elements=["order_id"], set_={"at_us": at_us}))


def _charge(row: Row[Any]) -> Charge:
    return Charge(row.charge_id, row.order_id, row.amount_minor, row.refunded_minor, row.at)
