"""The stock accounts and the reservations they stand for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shop.database import Database
from shop.inventory.domain import Line, ReservationGone, SoldOut, Stock

SCHEMA = MetaData()
_stock = Table(
    "stock",
    SCHEMA,
    Column("sku", Text, primary_key=True),
    Column("received", Integer, nullable=False),
    Column("free", Integer, CheckConstraint("free >= 0"), nullable=False),
    Column("reserved", Integer, CheckConstraint("reserved >= 0"), nullable=False),
    Column("sold", Integer, CheckConstraint("sold >= 0"), nullable=False),
    Index("stock_by_free", "free", "sku"),
)
_reservations = Table(
    "reservations",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("quantity", Integer, CheckConstraint("quantity > 0"), nullable=False),
    Column("state", Text, CheckConstraint("state IN ('held', 'sold', 'released')"), nullable=False),
    Column("expires_at_us", BigInteger, nullable=False, index=True),
)
_deliveries = Table(
    "deliveries",
    SCHEMA,
    Column("delivery_id", Text, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("pieces", Integer, CheckConstraint("pieces > 0"), nullable=False),
)


class InventoryStore:
    """Stock in SQL; each method is one transaction, and locks an order's reservation before its products, by sku."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def receive(self, deliveries: Iterable[Stock]) -> None:
        """Book the first deliveries, once: a stock that has products is left alone."""
        async with self._database.write() as connection:
            if (await connection.execute(select(func.count()).select_from(_stock))).scalar_one() == 0:
                await connection.execute(insert(_stock), [stock._asdict() for stock in deliveries])

    async def deliver(self, delivery_id: str, sku: str, pieces: int) -> bool:
        """Book a delivery, once however often it is announced; False for a product that is not known here."""
        more = {"received": _stock.c.received + pieces, "free": _stock.c.free + pieces}
        with contextlib.suppress(IntegrityError):
            async with self._database.write() as connection:
                moved = await connection.execute(update(_stock).where(_stock.c.sku == sku).values(more))
                if moved.rowcount != 1:
                    return False
                line = {"delivery_id": delivery_id, "sku": sku, "pieces": pieces}
                await connection.execute(insert(_deliveries).values(line))  # a second time undoes all of it
        return True

    async def free(self, skus: Sequence[str]) -> dict[str, int]:
        """The free pieces of each of these products."""
        query = select(_stock.c.sku, _stock.c.free).where(_stock.c.sku.in_(skus))
        return {row.sku: row.free for row in await self._database.few(query)}

    async def sold_out(self, limit: int) -> list[str]:
        """Products without a free piece."""
        query = select(_stock.c.sku).where(_stock.c.free == 0).order_by(_stock.c.sku).limit(limit)
        return [row.sku for row in await self._database.rows(query)]

    async def reserve(self, order_id: str, lines: Sequence[Line], expires_at_us: int) -> None:
        """Hold all lines or none; doing it again for the same order changes nothing."""
        async with self._database.write(about=order_id) as connection:
            known = await _reservation(connection, order_id)
            if any(row.state == "released" for row in known):
                raise ReservationGone(order_id)
            if known:
                return
            for line in sorted(lines, key=lambda line: line.sku):
                await _take(connection, line)
            rows = [
                {"order_id": order_id, **line._asdict(), "state": "held", "expires_at_us": expires_at_us}
                for line in lines
            ]
            await connection.execute(insert(_reservations), rows)

    async def sell(self, order_id: str) -> None:
        """Turn what an order holds into sold pieces; what has expired meanwhile is taken again if it can be."""
        async with self._database.write(about=order_id) as connection:
            known = await _reservation(connection, order_id)
            if not known:
                raise ReservationGone(order_id)
            for row in known:
                if row.state == "released":
                    await _take(connection, Line(row.sku, row.quantity))
                if row.state != "sold":
                    await _move(connection, row, reserved=-row.quantity, sold=row.quantity)
                    await _mark(connection, row, "sold")

    async def release(self, order_id: str) -> None:
        """Give back what an order holds or has bought; doing it again changes nothing."""
        async with self._database.write(about=order_id) as connection:
            for row in await _reservation(connection, order_id):
                await _give_back(connection, row)

    async def release_expired(self, now_us: int, rows_max: int = 200) -> int:
        """Give back reservations whose time is over, a bounded number at a time."""
        due = (_reservations.c.state == "held") & (_reservations.c.expires_at_us <= now_us)
        async with self._database.write() as connection:
            free = select(_reservations).where(due).limit(rows_max).with_for_update(skip_locked=True)
            rows = (await connection.execute(free)).all()
            for row in sorted(rows, key=lambda row: row.sku):
                await _give_back(connection, row)
        return len(rows)

    async def audit(self) -> dict[str, Any]:
        """Sums of all accounts, the accounts that do not add up, and those that differ from their reservations."""
        columns = (_stock.c.received, _stock.c.free, _stock.c.reserved, _stock.c.sold)
        (sums,), moved, of_held, of_sold, broken = await self._database.read(
            select(*(func.sum(column).label(column.name) for column in columns)),
            select(_stock).where((_stock.c.reserved != 0) | (_stock.c.sold != 0)),
            _totals("held"),
            _totals("sold"),
            select(_stock.c.sku).where(_UNBALANCED).limit(5),
        )
        booked = {row.sku: (row.reserved, row.sold) for row in moved}
        held = {row.sku: row.pieces for row in of_held}
        sold = {row.sku: row.pieces for row in of_sold}
        meant = {sku: (held.get(sku, 0), sold.get(sku, 0)) for sku in held.keys() | sold.keys()}
        apart = sorted(sku for sku in booked.keys() | meant.keys() if booked.get(sku) != meant.get(sku))
        return {**sums._asdict(), "unbalanced": [row.sku for row in broken], "apart": apart[:5]}


_UNBALANCED = (
    (_stock.c.free + _stock.c.reserved + _stock.c.sold != _stock.c.received)
    | (_stock.c.free < 0)
    | (_stock.c.reserved < 0)
    | (_stock.c.sold < 0)
)


async def _reservation(connection: AsyncConnection, order_id: str) -> Sequence[Row[Any]]:
    held = select(_reservations).where(_reservations.c.order_id == order_id)
    return (await connection.execute(held.order_by(_reservations.c.sku).with_for_update())).all()


async def _take(connection: AsyncConnection, line: Line) -> None:
    """The one conditional write that keeps stock from going below zero."""
    enough = (_stock.c.sku == line.sku) & (_stock.c.free >= line.quantity)
    taken = update(_stock).where(enough)
    taken = taken.values(free=_stock.c.free - line.quantity, reserved=_stock.c.reserved + line.quantity)
    if (await connection.execute(taken)).rowcount != 1:
        raise SoldOut(line.sku)


async def _give_back(connection: AsyncConnection, row: Row[Any]) -> None:
    if row.state == "held":
        await _move(connection, row, reserved=-row.quantity, free=row.quantity)
    elif row.state == "sold":
        await _move(connection, row, sold=-row.quantity, free=row.quantity)
    await _mark(connection, row, "released")


async def _move(connection: AsyncConnection, row: Row[Any], **changes: int) -> None:
    values = {name: _stock.c[name] + change for name, change in changes.items()}
    await connection.execute(update(_stock).where(_stock.c.sku == row.sku).values(values))


async def _mark(connection: AsyncConnection, row: Row[Any], state: str) -> None:
    same = (_reservations.c.order_id == row.order_id) & (_reservations.c.sku == row.sku)
    await connection.execute(update(_reservations).where(same).values(state=state))


def _totals(state: str) -> Select[Any]:
    query = select(_reservations.c.sku, func.sum(_reservations.c.quantity).label("pieces"))
    return query.where(_reservations.c.state == state).group_by(_reservations.c.sku)
