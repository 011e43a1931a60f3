"""The orders as tables: a view of their events. And what stands beside the events: keys and contacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sdpatterns.messaging.eventstore import StoredEvent
from shop.database import Database
from shop.ordering.domain import CART_IN_USE, PAID, Line, Order, OrderPlaced, evolve, items
from shop.ordering.events import ORDERS

SCHEMA = MetaData()
# One key has at most one order that has not failed: the database refuses a second one.
CHECKOUT_KEYS = Table(
    "checkout_keys",
    SCHEMA,
    Column("checkout_key", Text, primary_key=True),
    Column("order_id", Text, nullable=False, unique=True),
)
# Apart from the events, which are kept without end: it can be deleted when a customer asks for that.
CONTACTS = Table(
    "contacts", SCHEMA, Column("order_id", Text, primary_key=True), Column("contact", Text, nullable=False)
)
_orders = Table(
    "orders",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
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
)
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
_ORDER = list(_orders.c)
_LEDGER = [
    _orders.c[name]
    for name in ("order_id", "client_key", "status", "total_minor", "reason", "placed_at_us", "decided_at_us", "coupon")
]


async def apply(stored: StoredEvent, connection: AsyncConnection) -> None:
    """Change the view by one event, in the transaction that moves the position of the view."""
    order_id = stored.stream.removeprefix(ORDERS.stream(""))
    if isinstance(stored.event, OrderPlaced):
        row = _row(evolve(Order(), stored.event))
        await connection.execute(insert(_orders).values(row))
        await connection.execute(insert(_lines), [{"order_id": order_id, **line} for line in items(stored.event.lines)])
        return
    mine = _orders.c.order_id == order_id
    before = (await connection.execute(select(*_ORDER).where(mine))).one()
    row = _row(evolve(Order(**before._asdict()), stored.event))
    await connection.execute(update(_orders).where(mine).values(row))


def _row(order: Order) -> dict[str, Any]:
    return {column.name: getattr(order, column.name) for column in _ORDER}


class OrderView:
    """Orders as tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

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

    async def find(self, order_id: str) -> Order | None:
        """An order."""
        rows = await self._database.rows(select(*_ORDER).where(_orders.c.order_id == order_id))
        return Order(**rows[0]._asdict()) if rows else None

    async def recent(self, limit: int) -> list[Order]:
        """The newest orders of all carts."""
        query = select(*_ORDER).order_by(_orders.c.placed_at_us.desc(), _orders.c.order_id).limit(limit)
        return [Order(**row._asdict()) for row in await self._database.rows(query)]

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
