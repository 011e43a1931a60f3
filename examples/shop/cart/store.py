"""The cart's tables: its lines, and the book of what orders took from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shop.cart.domain import LINES_MAX, QUANTITY_MAX, RETURNED, SHARED, TAKEN, Line, Taking
from shop.database import Database, insert_into

SCHEMA = MetaData()
_lines = Table(
    "lines",
    SCHEMA,
    Column("cart_id", Text, primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("quantity", Integer, CheckConstraint("quantity > 0"), nullable=False),
)
# A basket is what is in a cart until an order takes it; then the cart begins its next one.
_baskets = Table(
    "baskets",
    SCHEMA,
    Column("cart_id", Text, primary_key=True),
    Column("number", Integer, nullable=False),
)
_takings = Table(
    "takings",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("cart_id", Text, nullable=False),
    Column("basket", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("lines", Text, nullable=False),
    Column("placed_at_us", BigInteger, nullable=False),
)
Index("by_basket", _takings.c.cart_id, _takings.c.basket)
_SEVERAL_MAX = 50


class CartStore:
    """Cart lines in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lines(self, cart_id: str) -> list[Line]:
        """The lines of a cart, empty for one that was never written."""
        query = select(_lines.c.sku, _lines.c.quantity).where(_lines.c.cart_id == cart_id).order_by(_lines.c.sku)
        return [Line(row.sku, row.quantity) for row in await self._database.few(query)]

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

    async def take(self, taking: Taking, lines: Sequence[Line], *, shared: bool) -> bool:
        """Move lines out of a cart into an order, once; False when the cart has other lines by now.

        With `shared` the lines stay in the cart, where another order finds them too: the undefended way.
        """
        state = SHARED if shared else TAKEN
        try:
            async with self._database.write(about=taking.cart_id) as connection:
                known = await _state_of(connection, taking.order_id)
                if known is not None:
                    return known == state
                if await _lines_of(connection, taking.cart_id) != sorted(lines):
                    return False
                number = await _basket_of(connection, taking.cart_id)
                row = {**taking._asdict(), "basket": number, "state": state, "lines": json.dumps(lines)}
                await connection.execute(insert(_takings).values(row))
                if not shared:
                    await connection.execute(delete(_lines).where(_lines.c.cart_id == taking.cart_id))
                    await _next_basket(connection, taking.cart_id, number)
        except IntegrityError:  # the order gave up in this very moment
            return False
        return True

    async def give_back(self, order_id: str) -> None:
        """Move an order's lines back into their cart, once; an order that comes later gets none any more."""
        try:
            await self._give_back(order_id)
        except IntegrityError:  # it took them in this very moment
            await self._give_back(order_id)

    async def _give_back(self, order_id: str) -> None:
        query = select(_takings.c.cart_id).where(_takings.c.order_id == order_id)
        known = list(await self._database.rows(query))
        cart_id = known[0].cart_id if known else None
        async with self._database.write(about=cart_id) as connection:
            if cart_id is None:
                gone = {"order_id": order_id, "cart_id": "", "placed_at_us": 0, "basket": 0, "lines": "[]"}
                await connection.execute(insert(_takings).values({**gone, "state": RETURNED}))
                return
            held = (_takings.c.order_id == order_id) & (_takings.c.state != RETURNED)
            found = (await connection.execute(select(_takings.c.state, _takings.c.lines).where(held))).one_or_none()
            if found is None:
                return
            await connection.execute(update(_takings).where(held).values(state=RETURNED))
            if found.state == TAKEN:
                for sku, quantity in json.loads(found.lines):
                    await _add(connection, cart_id, Line(sku, quantity))

    async def bought(self, order_id: str) -> None:
        """Forget the lines of a paid order that it shared; what it took is gone from the cart already."""
        query = select(_takings).where(_takings.c.order_id == order_id, _takings.c.state == SHARED)
        rows = list(await self._database.rows(query))
        if not rows:
            return
        found = rows[0]
        async with self._database.write(about=found.cart_id) as connection:
            for sku, quantity in json.loads(found.lines):
                same = (_lines.c.cart_id == found.cart_id) & (_lines.c.sku == sku) & (_lines.c.quantity == quantity)
                await connection.execute(delete(_lines).where(same))
            if await _basket_of(connection, found.cart_id) == found.basket:
                await _next_basket(connection, found.cart_id, found.basket)

    async def audit(self) -> dict[str, Any]:
        """How many orders took a basket, since when that is written down, and the baskets with several orders."""
        live = _takings.c.state != RETURNED
        basket = (_takings.c.cart_id, _takings.c.basket)
        several = select(*basket).where(live).group_by(*basket).having(func.count() > 1).limit(_SEVERAL_MAX).subquery()
        theirs = select(*basket, _takings.c.order_id).join(
            several, (several.c.cart_id == _takings.c.cart_id) & (several.c.basket == _takings.c.basket)
        )
        sums = select(func.count().label("takings"), func.min(_takings.c.placed_at_us).label("since_us")).where(live)
        totals, rows = await self._database.read(sums, theirs.where(live).order_by(_takings.c.order_id))
        shared: dict[tuple[str, int], list[str]] = {}
        for row in rows:
            shared.setdefault((row.cart_id, row.basket), []).append(row.order_id)
        return {"takings": totals[0].takings, "since_us": totals[0].since_us, "shared": list(shared.values())}

    async def drop(self, cart_id: str, sku: str) -> None:
        """Take a line out, whatever its quantity."""
        async with self._database.write() as connection:
            await connection.execute(delete(_lines).where(_lines.c.cart_id == cart_id, _lines.c.sku == sku))


async def _lines_of(connection: AsyncConnection, cart_id: str) -> list[Line]:
    query = select(_lines.c.sku, _lines.c.quantity).where(_lines.c.cart_id == cart_id)
    return sorted(Line(row.sku, row.quantity) for row in await connection.execute(query))


async def _state_of(connection: AsyncConnection, order_id: str) -> str | None:
    query = select(_takings.c.state).where(_takings.c.order_id == order_id)
    state: str | None = (await connection.execute(query)).scalar_one_or_none()
    return state


async def _basket_of(connection: AsyncConnection, cart_id: str) -> int:
    query = select(_baskets.c.number).where(_baskets.c.cart_id == cart_id)
    return (await connection.execute(query)).scalar_one_or_none() or 1


async def _next_basket(connection: AsyncConnection, cart_id: str, number: int) -> None:
    write = insert_into(_baskets, connection).values(cart_id=cart_id, number=number + 1)
    await connection.execute(write.on_conflict_do_update(index_elements=["cart_id"], set_={"number": number + 1}))


async def _add(connection: AsyncConnection, cart_id: str, line: Line) -> None:
    """Put pieces back beside those that the customer has chosen meanwhile."""
    same = (_lines.c.cart_id == cart_id) & (_lines.c.sku == line.sku)
    had = (await connection.execute(select(_lines.c.quantity).where(same))).scalar_one_or_none() or 0
    quantity = min(QUANTITY_MAX, had + line.quantity)
    write = insert_into(_lines, connection).values(cart_id=cart_id, sku=line.sku, quantity=quantity)
    await connection.execute(
        write.on_conflict_do_update(index_elements=["cart_id", "sku"], set_={"quantity": quantity})
    )
