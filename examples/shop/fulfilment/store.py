"""The orders that fulfilment has taken on, their invoices, and what is done."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shop.database import Database, insert_into
from shop.fulfilment.domain import INVOICE, Done, TakenOrder

SCHEMA = MetaData()
_orders = Table(
    "taken_orders",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("placed_at_us", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Column("changed_at_us", BigInteger, nullable=False, index=True),
)
_invoices = Table(
    "invoices",
    SCHEMA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("order_id", Text, nullable=False, index=True),
    Column("total_minor", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
_done = Table(
    "done",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("what", Text, primary_key=True),
    Column("detail", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
)
_CONTENT = ("email", "address", "items", "total_minor", "currency")


class FulfilmentStore:
    """What follows orders, in SQL; doing a step again changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, connection: AsyncConnection, order: TakenOrder, at_us: int) -> None:
        """Note an order, in a transaction of the caller's."""
        content = json.dumps({name: getattr(order, name) for name in _CONTENT})
        row = {"order_id": order.order_id, "placed_at_us": order.placed_at_us, "content": content}
        write = insert_into(_orders, connection).values(**row, changed_at_us=at_us)
        await connection.execute(write.on_conflict_do_nothing())

    async def find(self, order_id: str) -> TakenOrder:
        """An order that was taken on."""
        (row,) = await self._database.rows(select(_orders).where(_orders.c.order_id == order_id))
        return TakenOrder(order_id=order_id, placed_at_us=row.placed_at_us, **json.loads(row.content))

    async def bill(self, connection: AsyncConnection, order: TakenOrder, at_us: int) -> int:
        """Write an invoice under the next number, in a transaction of the caller's that is alone with the numbers.

        Keeps: numbers are 1, 2, 3 and so on: the number and its invoice are written together or not at all.
        """
        number = ((await connection.execute(select(func.max(_invoices.c.number)))).scalar_one() or 0) + 1
        row = {"order_id": order.order_id, "total_minor": order.total_minor, "currency": order.currency}
        await connection.execute(insert_into(_invoices, connection).values(number=number, at_us=at_us, **row))
        await _note(connection, order.order_id, Done(INVOICE, f"{number:06d}", at_us))
        return number

    async def note(self, order_id: str, done: Done) -> None:
        """Note that something is done."""
        async with self._database.write() as connection:
            await _note(connection, order_id, done)

    async def done(self, order_id: str) -> list[Done]:
        """What is done for an order, in the order in which it was."""
        columns = (_done.c.what, _done.c.detail, _done.c.at_us)
        query = select(*columns).where(_done.c.order_id == order_id).order_by(_done.c.at_us)
        return [Done(row.what, row.detail, row.at_us) for row in await self._database.rows(query)]

    async def ledger(self, after: str, limit: int, since_us: int = 0) -> list[dict[str, Any]]:
        """How many invoices each order has, in the order of the orders' ids; perhaps only what changed since."""
        counted = select(func.count()).where(_invoices.c.order_id == _orders.c.order_id).scalar_subquery()
        query = select(_orders.c.order_id, counted.label("invoices")).where(_orders.c.order_id > after)
        if since_us:
            query = query.where(_orders.c.changed_at_us >= since_us)
        return [row._asdict() for row in await self._database.rows(query.order_by(_orders.c.order_id).limit(limit))]

    async def counts(self) -> dict[str, Any]:
        """How many orders and invoices there are, the last number, and when the first order was placed."""
        orders = select(func.count().label("orders"), func.min(_orders.c.placed_at_us).label("since_us"))
        invoices = select(func.count().label("invoices"), func.max(_invoices.c.number).label("last_number"))
        found, billed = await self._database.read(orders.select_from(_orders), invoices.select_from(_invoices))
        return {**found[0]._asdict(), **billed[0]._asdict()}


async def _note(connection: AsyncConnection, order_id: str, done: Done) -> None:
    write = insert_into(_done, connection).values(order_id=order_id, **done._asdict())
    await connection.execute(write.on_conflict_do_nothing())
    await connection.execute(update(_orders).where(_orders.c.order_id == order_id).values(changed_at_us=done.at_us))
