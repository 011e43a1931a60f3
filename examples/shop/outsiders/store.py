"""An outsider's own books."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, Table, Text, func, insert, select

from shop.database import Database, insert_into
from shop.outsiders.domain import Entry, Visit

SCHEMA = MetaData()
_entries = Table(
    "entries",
    SCHEMA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("key", Text, unique=True, nullable=False),
    Column("order_id", Text, nullable=False, index=True),
    Column("party", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False, index=True),
)
_visits = Table(
    "visits",
    SCHEMA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("well", Boolean, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)


class Book:
    """Entries in SQL, one for each key; and who came, whatever became of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(self, entry: Entry, visit: Visit) -> int:
        """Enter something, unless its key is there already, and note who came with it; gives its number."""
        async with self._database.write() as connection:
            await connection.execute(insert(_visits).values(visit._asdict()))
            write = insert_into(_entries, connection).values(entry._asdict()).on_conflict_do_nothing()
            await connection.execute(write)
            query = select(_entries.c.number).where(_entries.c.key == entry.key)
            return int((await connection.execute(query)).scalar_one())

    async def visited(self, visit: Visit) -> None:
        """Note that a request came."""
        async with self._database.write() as connection:
            await connection.execute(insert(_visits).values(visit._asdict()))

    async def of_order(self, order_id: str) -> list[Entry]:
        """What was entered for an order."""
        columns = [_entries.c[name] for name in Entry._fields]
        query = select(*columns).where(_entries.c.order_id == order_id).order_by(_entries.c.number)
        return [Entry(**row._asdict()) for row in await self._database.rows(query)]

    async def ledger(self, after: str, limit: int, since_us: int = 0) -> list[dict[str, Any]]:
        """How often something was entered, order by order; perhaps only where that changed since."""
        query = select(_entries.c.order_id, func.count().label("entries")).where(_entries.c.order_id > after)
        if since_us:
            changed = select(_entries.c.order_id).where(_entries.c.at_us >= since_us)
            query = query.where(_entries.c.order_id.in_(changed))
        query = query.group_by(_entries.c.order_id).order_by(_entries.c.order_id).limit(limit)
        return [row._asdict() for row in await self._database.rows(query)]

    async def visits(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Who came, in order, after a number."""
        query = select(_visits).where(_visits.c.number > after).order_by(_visits.c.number).limit(limit)
        return [row._asdict() for row in await self._database.rows(query)]
