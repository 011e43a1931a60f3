"""The tables of payments, gathered: money taken, coupons, and money paid on to sellers."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, Table, Text

SCHEMA = MetaData()
PAYMENTS = Table(
    "payments",
    SCHEMA,
    Column("order_id", Text, primary_key=True),
    Column("amount_minor", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("wanted", Boolean, nullable=False),
    Column("charge_id", Text),
    Column("asked_at_us", BigInteger, nullable=False),
)
