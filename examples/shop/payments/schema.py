"""The tables of payments, gathered: money taken, and money paid on to sellers."""

from __future__ import annotations

from sqlalchemy import MetaData

SCHEMA = MetaData()
