"""What sellers are owed, and what they were paid night by night."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from sdpatterns.backends.sqlalchemy.fenced import FencedRows
from shop.database import Database, insert_into
from shop.payments.schema import SCHEMA

PAID, REFUSED, REVERSED = "paid", "refused", "reversed"

_shares = Table(
    "shares",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("seller", Text, primary_key=True),
    Column("amount_minor", Integer, nullable=False),
)
# A charge is owed to its sellers, a refund is owed back by them; each belongs to the night that settled it.
_dues = Table(
    "dues",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("seller", Text, primary_key=True),
    Column("amount_minor", Integer, nullable=False),
    Column("night", Integer),
    Column("at_us", BigInteger, nullable=False, index=True),
)
Index("dues_of_seller", _dues.c.seller, _dues.c.night)
# `night` is the last one in which the seller was paid, `fence` the largest term that has looked at the row.
SELLERS = Table(
    "sellers",
    SCHEMA,
    Column("seller", Text, primary_key=True),
    Column("night", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
)
_nights = Table(
    "nights",
    SCHEMA,
    Column("night", Integer, primary_key=True, autoincrement=False),
    Column("opened_at_us", BigInteger, nullable=False),
    Column("ended_at_us", BigInteger),
)
_terms = Table(
    "terms",
    SCHEMA,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    Column("candidate", Text, nullable=False),
    Column("began_at_us", BigInteger, nullable=False),
)
# A line for each transfer that was ordered; the bank carries out what stands here, twice where it stands here twice.
_payouts = Table(
    "payouts",
    SCHEMA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("night", Integer, nullable=False),
    Column("seller", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_minor", Integer, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
_REAL = _payouts.c.kind != REFUSED


async def note_shares(connection: AsyncConnection, order_id: str, shares: Mapping[str, int]) -> None:
    """Note whose goods are in an order, once."""
    rows = [{"order_id": order_id, "seller": seller, "amount_minor": minor} for seller, minor in shares.items()]
    if rows:
        await connection.execute(insert_into(_shares, connection).values(rows).on_conflict_do_nothing())


async def book_dues(connection: AsyncConnection, order_id: str, kind: str, at_us: int) -> None:
    """Owe the sellers of an order their shares, or be owed them back."""
    sign = 1 if kind == "charge" else -1
    shares = (await connection.execute(select(_shares).where(_shares.c.order_id == order_id))).all()
    if not shares:
        return
    known = [{"seller": row.seller, "night": 0, "fence": 0} for row in shares]
    await connection.execute(insert_into(SELLERS, connection).values(known).on_conflict_do_nothing())
    lines = [
        {"order_id": order_id, "kind": kind, "seller": row.seller, "amount_minor": sign * row.amount_minor}
        for row in shares
    ]
    await connection.execute(insert(_dues), [{**line, "night": None, "at_us": at_us} for line in lines])


class PayoutStore:
    """Nights, and the payouts made in them.

    `rows` is asked for the rows of the sellers at each step: they refuse the step of a leader whose term is over.
    """

    def __init__(self, database: Database, rows: Callable[[], FencedRows], now_us: Callable[[], int]) -> None:
        self._database = database
        self._rows = rows
        self._now_us = now_us

    async def open_night(self) -> int:
        """Begin a night, or give the one that is running."""
        async with self._database.write(about="nights") as connection:
            query = select(_nights).order_by(_nights.c.night.desc()).limit(1)
            last = (await connection.execute(query)).one_or_none()
            if last is not None and last.ended_at_us is None:
                return int(last.night)
            night = 1 if last is None else last.night + 1
            await connection.execute(insert(_nights).values(night=night, opened_at_us=self._now_us()))
        return night

    async def running_night(self) -> int | None:
        """The night that has not ended."""
        rows = await self._database.few(select(_nights.c.night).where(_nights.c.ended_at_us.is_(None)))
        return rows[0].night if rows else None

    async def end_night(self, night: int) -> None:
        """All sellers were paid."""
        change = update(_nights).where(_nights.c.night == night, _nights.c.ended_at_us.is_(None))
        async with self._database.write() as connection:
            await connection.execute(change.values(ended_at_us=self._now_us()))

    async def begin_term(self, term: int, candidate: str) -> None:
        """Write down who leads from now on."""
        row = {"term": term, "candidate": candidate, "began_at_us": self._now_us()}
        async with self._database.write() as connection:
            await connection.execute(insert_into(_terms, connection).values(row).on_conflict_do_nothing())

    async def unpaid(self, night: int) -> list[str]:
        """The sellers to whom something is owed and who have not been paid in this night."""
        open_dues = _dues.c.night.is_(None) | (_dues.c.night == night)
        query = select(_dues.c.seller).join(SELLERS, SELLERS.c.seller == _dues.c.seller)
        rows = await self._database.rows(query.where(open_dues, SELLERS.c.night < night).distinct())
        return sorted(row.seller for row in rows)

    async def due(self, night: int, seller: str, term: int) -> int | None:
        """What a seller gets in this night; None for one who has been paid. StaleFence for an old term."""
        async with self._database.write(about=seller) as connection:
            row = await self._rows().read(connection, term, SELLERS.c.seller == seller)
            if row.night >= night:
                return None
            free = (_dues.c.seller == seller) & _dues.c.night.is_(None)
            await connection.execute(update(_dues).where(free).values(night=night))
            mine = (_dues.c.seller == seller) & (_dues.c.night == night)
            return int((await connection.execute(select(func.sum(_dues.c.amount_minor)).where(mine))).scalar_one() or 0)

    async def pay(self, night: int, seller: str, amount_minor: int, term: int) -> None:
        """Order the transfer. StaleFence, and no transfer, for an old term."""
        async with self._database.write(about=seller) as connection:
            await self._rows().write(connection, term, SELLERS.c.seller == seller, night=night)
            await self._book(connection, night, seller, PAID, amount_minor, term)

    async def refused(self, night: int, seller: str, amount_minor: int, term: int) -> None:
        """Write down that a late leader was refused: nothing was transferred."""
        async with self._database.write() as connection:
            await self._book(connection, night, seller, REFUSED, amount_minor, term)

    async def _book(
        self, connection: AsyncConnection, night: int, seller: str, kind: str, amount_minor: int, term: int
    ) -> None:
        row = {"night": night, "seller": seller, "kind": kind, "amount_minor": amount_minor, "term": term}
        await connection.execute(insert(_payouts).values({**row, "at_us": self._now_us()}))

    async def reverse(self) -> int:
        """Claim back what was paid beyond what is owed; gives how many payouts that were."""
        async with self._database.write(about="nights") as connection:
            wrong = (await connection.execute(_disagreeing())).all()
            for row in wrong:
                await self._book(connection, row.night, row.seller, REVERSED, row.owed_minor - row.paid_minor, 0)
        return len(wrong)

    async def ledger(self, after: int, limit: int) -> list[dict[str, Any]]:
        """The lines of the ledger after a number."""
        query = select(_payouts).where(_payouts.c.number > after).order_by(_payouts.c.number).limit(limit)
        return [row._asdict() for row in await self._database.rows(query)]

    async def audit(self) -> dict[str, Any]:
        """What is owed and what was paid, and the sellers of a night who got something else than they were owed."""
        totals = (select(func.sum(_dues.c.amount_minor)), select(func.sum(_payouts.c.amount_minor)).where(_REAL))
        waiting = select(func.sum(_dues.c.amount_minor)).where(_dues.c.night.is_(None))
        owed, paid, later, wrong = await self._database.read(*totals, waiting, _disagreeing())
        return {
            "owed_minor": owed[0][0] or 0,
            "paid_minor": paid[0][0] or 0,
            "waiting_minor": later[0][0] or 0,
            "wrong": [[row.night, row.seller, row.owed_minor, row.paid_minor] for row in wrong],
        }

    async def owed(self, after: str, limit: int, since_us: int) -> list[dict[str, Any]]:
        """What the sellers of each order are owed for it, in the order of their ids; perhaps only what changed."""
        total = func.sum(_dues.c.amount_minor).label("net_minor")
        query = select(_dues.c.order_id, total).where(_dues.c.order_id > after)
        if since_us:
            query = query.where(_dues.c.order_id.in_(select(_dues.c.order_id).where(_dues.c.at_us >= since_us)))
        rows = await self._database.rows(query.group_by(_dues.c.order_id).order_by(_dues.c.order_id).limit(limit))
        return [row._asdict() for row in rows]

    async def standing(self, term: int | None) -> dict[str, Any]:
        """The night, how many have been paid in it, the terms so far, and when this term began."""
        nights = select(_nights).order_by(_nights.c.night.desc()).limit(1)
        began = select(_terms.c.began_at_us).where(_terms.c.term == term)
        number = select(func.count()).select_from(_terms)
        paid = select(_payouts.c.night, func.count().label("payouts")).where(_payouts.c.kind == PAID)
        paid = paid.group_by(_payouts.c.night).order_by(_payouts.c.night.desc()).limit(1)
        last, since, terms, latest = await self._database.read(nights, began, number, paid)
        night = last[0].night if last else 0
        return {
            "since_us": since[0].began_at_us if since else None,
            "terms": terms[0][0],
            "night": night,
            "running": bool(last) and last[0].ended_at_us is None,
            "payouts": latest[0].payouts if latest and latest[0].night == night else 0,
        }


def _disagreeing() -> Any:
    """The sellers of a night who were paid something else than they were owed."""
    real = select(_payouts.c.night, _payouts.c.seller, func.sum(_payouts.c.amount_minor).label("paid_minor"))
    paid = real.where(_REAL).group_by(_payouts.c.night, _payouts.c.seller).subquery()
    settled = select(_dues.c.night, _dues.c.seller, func.sum(_dues.c.amount_minor).label("owed_minor"))
    owed = settled.group_by(_dues.c.night, _dues.c.seller).subquery()
    amount = func.coalesce(owed.c.owed_minor, 0)
    query = select(paid.c.night, paid.c.seller, amount.label("owed_minor"), paid.c.paid_minor)
    query = query.outerjoin(owed, (owed.c.night == paid.c.night) & (owed.c.seller == paid.c.seller))
    return query.where(paid.c.paid_minor != amount).order_by(paid.c.night, paid.c.seller)
