"""Coupons with a number of uses, and the orders that used them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, Integer, Select, Table, Text, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sdpatterns.backends.sqlalchemy.fenced import FencedRows
from shop.database import Database, insert_into
from shop.payments.schema import PAYMENTS, SCHEMA

# `fence` is the largest fence of a lease that has looked at the row.
COUPONS = Table(
    "coupons",
    SCHEMA,
    Column("code", Text, primary_key=True),
    Column("uses_max", Integer, nullable=False),
    Column("off_minor", Integer, nullable=False),
    Column("used_at_us", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
)
_redemptions = Table(
    "redemptions",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("code", Text, nullable=False, index=True),
)


class Coupon(NamedTuple):
    """A coupon, what it takes off one order, and how often it was used."""

    code: str
    uses_max: int
    off_minor: int
    used: int

    @property
    def is_spent(self) -> bool:
        """Whether no use is left."""
        return self.used >= self.uses_max


async def give_back(connection: AsyncConnection, order_id: str) -> None:
    """Undo the use of a coupon by an order, if it used one."""
    await connection.execute(delete(_redemptions).where(_redemptions.c.order_id == order_id))


class CouponStore:
    """Coupons in SQL. `rows` is asked for their rows at each step: they refuse a holder whose lease is over."""

    def __init__(self, database: Database, rows: Callable[[], FencedRows], now_us: Callable[[], int]) -> None:
        self._database = database
        self._rows = rows
        self._now_us = now_us

    async def issue(self, code: str, uses_max: int, off_minor: int) -> None:
        """A new coupon; one that is there already stays as it is."""
        row = {"code": code, "uses_max": uses_max, "off_minor": off_minor, "used_at_us": 0, "fence": 0}
        async with self._database.write() as connection:
            await connection.execute(insert_into(COUPONS, connection).values(row).on_conflict_do_nothing())

    async def find(self, code: str) -> Coupon | None:
        """A coupon."""
        rows = await self._database.rows(_with_uses().where(COUPONS.c.code == code))
        return Coupon(**rows[0]._asdict()) if rows else None

    async def all(self) -> list[Coupon]:
        """All coupons."""
        return [Coupon(**row._asdict()) for row in await self._database.rows(_with_uses())]

    async def look(self, code: str, fence: int) -> Coupon:
        """A coupon as its holder finds it. StaleFence for a holder whose lease is over."""
        async with self._database.write(about=code) as connection:
            await self._rows().read(connection, fence, COUPONS.c.code == code)
            found = await connection.execute(_with_uses().where(COUPONS.c.code == code))
            return Coupon(**found.one()._asdict())

    async def redeem(self, order_id: str, code: str, fence: int) -> bool:
        """Use a coupon for an order; False when the order is being undone. StaleFence as for `look`."""
        wanted = select(PAYMENTS.c.wanted).where(PAYMENTS.c.order_id == order_id)
        async with self._database.write(about=code) as connection:
            await self._rows().write(connection, fence, COUPONS.c.code == code, used_at_us=self._now_us())
            if not (await connection.execute(wanted.with_for_update())).scalar_one_or_none():
                return False
            await connection.execute(insert(_redemptions).values(order_id=order_id, code=code))
        return True


def _with_uses() -> Select[Any]:
    uses = select(func.count()).where(_redemptions.c.code == COUPONS.c.code).scalar_subquery().label("used")
    return select(COUPONS.c.code, COUPONS.c.uses_max, COUPONS.c.off_minor, uses).order_by(COUPONS.c.code)
