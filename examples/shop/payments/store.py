"""Payments, their double-entry ledger and the provider's events already seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, Table, Text, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shop.database import Database, insert_into
from shop.payments.coupon_store import give_back
from shop.payments.domain import ABSENT, ASKED, CHARGED, REFUNDED, Payment, entries
from shop.payments.payout_store import book_dues, note_shares
from shop.payments.schema import PAYMENTS, SCHEMA

_entries = Table(
    "entries",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("amount_minor", Integer, nullable=False),
    Column("at_us", BigInteger, nullable=False, index=True),
)
_events = Table("events", SCHEMA, Column("event_id", Text, primary_key=True))


class PaymentStore:
    """Payments in SQL; each method is one transaction, and doing it again changes nothing."""

    def __init__(self, database: Database, now_us: Callable[[], int]) -> None:
        self._database = database
        self._now_us = now_us

    async def ask(self, payment: Payment, shares: Mapping[str, int]) -> Payment:
        """Note that a charge is about to be asked for, and whose goods it is for, before anything is sent.

        Gives what is known of the order.
        """
        async with self._database.write() as connection:
            write = insert_into(PAYMENTS, connection).values(payment._asdict())
            write = write.on_conflict_do_update(
                index_elements=["order_id"],
                set_={"asked_at_us": payment.asked_at_us},
                where=PAYMENTS.c.state == ASKED,
            )
            await connection.execute(write)
            await note_shares(connection, payment.order_id, shares)
            return await _one(connection, payment.order_id)

    async def find(self, order_id: str) -> Payment | None:
        """What is known of an order's money."""
        rows = await self._database.rows(_select(order_id))
        return Payment(**rows[0]._asdict()) if rows else None

    async def charged(self, order_id: str, charge_id: str) -> Payment:
        """The provider has charged."""
        return await self._turn(order_id, CHARGED, "charge", (ASKED,), charge_id=charge_id)

    async def refunded(self, order_id: str) -> Payment:
        """The provider has refunded."""
        return await self._turn(order_id, REFUNDED, "refund", (CHARGED,))

    async def ended(self, order_id: str, state: str) -> Payment:
        """The provider has not charged and will not."""
        return await self._turn(order_id, state, None, (ASKED,))

    async def unwanted(self, order_id: str, now_us: int) -> Payment:
        """The order is being undone; an order never heard of is barred from being charged later."""
        bar = Payment(order_id, 0, ABSENT, wanted=False, charge_id=None, asked_at_us=now_us)
        async with self._database.write() as connection:
            write = insert_into(PAYMENTS, connection).values(bar._asdict())
            write = write.on_conflict_do_update(index_elements=["order_id"], set_={"wanted": False})
            await connection.execute(write)
            await give_back(connection, order_id)
            return await _one(connection, order_id)

    async def first_seen(self, event_id: str) -> bool:
        """Whether an event arrives for the first time."""
        async with self._database.write() as connection:
            write = insert_into(_events, connection).values(event_id=event_id).on_conflict_do_nothing()
            return (await connection.execute(write)).rowcount == 1

    async def audit(self) -> dict[str, int]:
        """Sums of the ledger by account."""
        query = select(_entries.c.account, func.sum(_entries.c.amount_minor).label("total")).group_by(
            _entries.c.account
        )
        return {row.account: row.total for row in await self._database.rows(query)}

    async def ledger(self, after: str, limit: int, since_us: int = 0) -> list[dict[str, Any]]:
        """What the provider owes us, order by order, in the order of their ids; perhaps only what changed since."""
        total = func.sum(_entries.c.amount_minor).label("net_minor")
        query = select(_entries.c.order_id, total).where(_entries.c.account == "provider", _entries.c.order_id > after)
        if since_us:
            changed = select(_entries.c.order_id).where(_entries.c.at_us >= since_us)
            query = query.where(_entries.c.order_id.in_(changed))
        query = query.group_by(_entries.c.order_id).order_by(_entries.c.order_id).limit(limit)
        return [row._asdict() for row in await self._database.rows(query)]

    async def _turn(
        self, order_id: str, state: str, kind: str | None, before: tuple[str, ...], **values: str
    ) -> Payment:
        """Change the state once and book both sides with it."""
        change = update(PAYMENTS).where(PAYMENTS.c.order_id == order_id, PAYMENTS.c.state.in_(before))
        async with self._database.write() as connection:
            turned = (await connection.execute(change.values(state=state, **values))).rowcount == 1
            payment = await _one(connection, order_id)
            if turned and state != CHARGED:
                await give_back(connection, order_id)
            if turned and kind is not None:
                at_us = self._now_us()
                lines = [{**entry._asdict(), "at_us": at_us} for entry in entries(order_id, kind, payment.amount_minor)]
                await connection.execute(insert(_entries), lines)
                await book_dues(connection, order_id, kind, at_us)
        return payment


def _select(order_id: str) -> Any:
    return select(PAYMENTS).where(PAYMENTS.c.order_id == order_id)


async def _one(connection: AsyncConnection, order_id: str) -> Payment:
    return Payment(**(await connection.execute(_select(order_id))).mappings().one())
