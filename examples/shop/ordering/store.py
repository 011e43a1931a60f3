"""Orders, their lines and their journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Select, Table, Text, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shop.database import Database
from shop.ordering.domain import CART_IN_USE, FAILED, PAID, PENDING, UNDOING, Checkout, Line, Order, PaidOrder, Step
from shop.ordering.events import Publisher

SCHEMA = MetaData()
_orders = Table(
    "orders",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("checkout_key", Text, nullable=False),
    Column("client_key", Text, nullable=False),
    Column("cart_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("total_minor", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("placed_at_us", BigInteger, nullable=False),
    Column("decided_at_us", BigInteger),
    Column("coupon", Text, nullable=False),
    Column("discount_minor", Integer, nullable=False),
    Column("since_us", BigInteger, nullable=False),  # when it came into its status
    Column("contact", Text, nullable=False),
)
# One key has at most one order that has not failed: the database refuses a second one.
_live = _orders.c.status != FAILED
ONE_LIVE_ORDER = Index(
    "one_live_order", _orders.c.checkout_key, unique=True, sqlite_where=_live, postgresql_where=_live
)
Index("by_key", _orders.c.checkout_key)
Index("by_status", _orders.c.status, _orders.c.placed_at_us)
Index("by_change", _orders.c.since_us)
Index("by_time", _orders.c.placed_at_us)
Index("by_coupon", _orders.c.coupon, sqlite_where=_orders.c.coupon != "", postgresql_where=_orders.c.coupon != "")
Index("by_cart", _orders.c.cart_id, _orders.c.placed_at_us)
_lines = Table(
    "lines",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("maker", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price_minor", Integer, nullable=False),
)
_steps = Table(
    "steps",
    SCHEMA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("order_id", Text, nullable=False, index=True),
    Column("step", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
_ORDER = [_orders.c[name] for name in Order._fields]
_LEDGER = [
    _orders.c[name]
    for name in ("order_id", "client_key", "status", "total_minor", "reason", "placed_at_us", "decided_at_us", "coupon")
]


class KeyTaken(Exception):
    """The checkout key has an order that is not failed."""


class OrderStore:
    """Orders in SQL; a step is in the journal before it is taken and again when it is done.

    `publisher` tells the others of each order that is paid.
    """

    def __init__(self, database: Database, publisher: Callable[[], Publisher] | None = None) -> None:
        self._database = database
        self._publisher = publisher

    async def place(self, order: Order, checkout: Checkout, lines: Sequence[Line], step: str) -> None:
        """Write a new order, about to take its first step; KeyTaken when its key has one already."""
        contact = json.dumps({"email": checkout.email, "address": dict(checkout.address)})
        row = {**order._asdict(), "since_us": order.placed_at_us, "contact": contact}
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(_orders).values(row))
                rows = [{"order_id": order.order_id, **line._asdict()} for line in lines]
                await connection.execute(insert(_lines), rows)
                await _journal(connection, order.order_id, order.placed_at_us, (step, "begun"))
        except IntegrityError:
            raise KeyTaken(order.checkout_key) from None

    async def change_status(
        self, order_id: str, before: str, after: str, at_us: int, *steps: tuple[str, str], reason: str = ""
    ) -> bool:
        """Change the status from one to the next and note steps with it; False when another caller was first."""
        change = update(_orders).where(_orders.c.order_id == order_id, _orders.c.status == before)
        changed: dict[str, Any] = {"status": after, "since_us": at_us}
        if reason:
            changed["reason"] = reason
        if before == PENDING != after:
            changed["decided_at_us"] = at_us
        publisher = self._publisher() if self._publisher is not None and after == PAID else None
        async with self._database.write() as connection:
            if (await connection.execute(change.values(changed))).rowcount != 1:
                return False
            await _journal(connection, order_id, at_us, *steps)
            if publisher is not None:
                paid = await _paid(connection, order_id, at_us)
                await publisher.with_change(paid, connection)
        if publisher is not None:
            await publisher.after_change(paid)
        return True

    async def find(self, order_id: str) -> Order | None:
        """An order."""
        return await self._one(select(*_ORDER).where(_orders.c.order_id == order_id))

    async def of_key(self, checkout_key: str) -> Order | None:
        """The order of a checkout key that is not failed."""
        live = (_orders.c.checkout_key == checkout_key) & (_orders.c.status != FAILED)
        return await self._one(select(*_ORDER).where(live))

    async def _one(self, query: Select[Any]) -> Order | None:
        rows = await self._database.rows(query)
        return Order(**rows[0]._asdict()) if rows else None

    async def details(self, order_id: str) -> tuple[list[Line], list[Step]]:
        """An order's lines and its journal."""
        lines = select(_lines).where(_lines.c.order_id == order_id).order_by(_lines.c.sku)
        steps = select(_steps).where(_steps.c.order_id == order_id).order_by(_steps.c.number)
        taken, done = await self._database.read(lines, steps)
        found = [Line(row.sku, row.title, row.maker, row.quantity, row.price_minor) for row in taken]
        return found, [Step(row.step, row.state, row.at_us) for row in done]

    async def unfinished(self, placed_before_us: int, limit: int = 100) -> list[Order]:
        """Orders being undone, and pending ones placed before an instant."""
        orphaned = (_orders.c.status == PENDING) & (_orders.c.placed_at_us < placed_before_us)
        query = select(*_ORDER).where((_orders.c.status == UNDOING) | orphaned)
        rows = await self._database.rows(query.order_by(_orders.c.placed_at_us).limit(limit))
        return [Order(**row._asdict()) for row in rows]

    async def of_cart(self, cart_id: str, limit: int) -> list[Order]:
        """The orders of a cart, newest first, except those that another one left nothing to buy."""
        query = select(*_ORDER).where(_orders.c.cart_id == cart_id, _orders.c.reason != CART_IN_USE)
        query = query.order_by(_orders.c.placed_at_us.desc(), _orders.c.order_id).limit(limit)
        return [Order(**row._asdict()) for row in await self._database.rows(query)]

    async def lines_of(self, order_ids: Sequence[str]) -> dict[str, list[Line]]:
        """The lines of several orders."""
        found: dict[str, list[Line]] = {order_id: [] for order_id in order_ids}
        query = select(_lines).where(_lines.c.order_id.in_(order_ids)).order_by(_lines.c.sku)
        for row in await self._database.rows(query):
            found[row.order_id].append(Line(row.sku, row.title, row.maker, row.quantity, row.price_minor))
        return found

    async def recent(self, limit: int) -> list[Order]:
        """The newest orders of all carts."""
        query = select(*_ORDER).order_by(_orders.c.placed_at_us.desc(), _orders.c.order_id).limit(limit)
        return [Order(**row._asdict()) for row in await self._database.rows(query)]

    async def contact(self, order_id: str) -> dict[str, Any]:
        """The e-mail and the address that an order was placed with."""
        query = select(_orders.c.contact).where(_orders.c.order_id == order_id)
        ((text,),) = await self._database.rows(query)
        contact: dict[str, Any] = json.loads(text)
        return contact

    async def ledger(self, after: str, limit: int, since_us: int = 0) -> list[dict[str, Any]]:
        """What is to be audited of each order, in the order of their ids; perhaps only what changed since."""
        query = select(*_LEDGER).where(_orders.c.order_id > after).order_by(_orders.c.order_id).limit(limit)
        if since_us:
            query = query.where(_orders.c.since_us >= since_us)
        return [row._asdict() for row in await self._database.rows(query)]

    async def with_coupons(self) -> dict[str, int]:
        """How many paid orders used each coupon."""
        query = select(_orders.c.coupon, func.count().label("orders")).where(_orders.c.coupon != "")
        rows = await self._database.rows(query.where(_orders.c.status == PAID).group_by(_orders.c.coupon))
        return {row.coupon: row.orders for row in rows}

    async def counts(self) -> dict[str, dict[str, int]]:
        """Number and sum of the orders in each status, and since when the first of them is in it."""
        sums = (func.count().label("orders"), func.sum(_orders.c.total_minor).label("total_minor"))
        oldest = func.min(_orders.c.since_us).label("oldest_at_us")
        query = select(_orders.c.status, *sums, oldest).group_by(_orders.c.status)
        rows = [row._asdict() for row in await self._database.rows(query)]
        return {row.pop("status"): row for row in rows}


async def _journal(connection: AsyncConnection, order_id: str, at_us: int, *steps: tuple[str, str]) -> None:
    rows = [{"order_id": order_id, "step": step, "state": state, "at_us": at_us} for step, state in steps]
    if rows:
        await connection.execute(insert(_steps), rows)


async def _paid(connection: AsyncConnection, order_id: str, at_us: int) -> PaidOrder:
    order = (await connection.execute(select(_orders).where(_orders.c.order_id == order_id))).one()
    lines = (await connection.execute(select(_lines).where(_lines.c.order_id == order_id).order_by(_lines.c.sku))).all()
    items = [Line(row.sku, row.title, row.maker, row.quantity, row.price_minor) for row in lines]
    contact = json.loads(order.contact)
    whom = (contact["email"], contact["address"])
    return PaidOrder(order_id, order.placed_at_us, at_us, *whom, items, order.total_minor, order.currency)
