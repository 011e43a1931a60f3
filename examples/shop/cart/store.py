"""The cart's table."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import CheckConstraint, Column, Integer, MetaData, Table, Text, delete, func, select

from shop.cart.domain import LINES_MAX, Line
from shop.database import Database, insert_into

SCHEMA = MetaData()
_lines = Table(
    "lines",
    SCHEMA,
    Column("cart_id", Text, primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("quantity", Integer, CheckConstraint("quantity > 0"), nullable=False),
)


class CartStore:
    """Cart lines in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lines(self, cart_id: str) -> list[Line]:
        """The lines of a cart, empty for one that was never written."""
        query = select(_lines.c.sku, _lines.c.quantity).where(_lines.c.cart_id == cart_id).order_by(_lines.c.sku)
        return [Line(row.sku, row.quantity) for row in await self._database.rows(query)]

    async def put(self, cart_id: str, line: Line) -> bool:
        """Set a line; False when the cart has no room for another one."""
        others = select(func.count()).select_from(_lines).where(_lines.c.cart_id == cart_id, _lines.c.sku != line.sku)
        async with self._database.write(about=cart_id) as connection:
            if (await connection.execute(others)).scalar_one() >= LINES_MAX:
                return False
            write = insert_into(_lines, connection).values(cart_id=cart_id, **line._asdict())
            write = write.on_conflict_do_update(index_elements=["cart_id", "sku"], set_={"quantity": line.quantity})
            await connection.execute(write)
        return True

    async def remove(self, cart_id: str, lines: Sequence[Line]) -> None:
        """Take lines out; one whose quantity has changed meanwhile stays."""
        async with self._database.write(about=cart_id) as connection:
            for line in lines:
                same = (_lines.c.cart_id == cart_id) & (_lines.c.sku == line.sku) & (_lines.c.quantity == line.quantity)
                await connection.execute(delete(_lines).where(same))

    async def drop(self, cart_id: str, sku: str) -> None:
        """Take a line out, whatever its quantity."""
        async with self._database.write() as connection:
            await connection.execute(delete(_lines).where(_lines.c.cart_id == cart_id, _lines.c.sku == sku))
