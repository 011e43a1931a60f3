"""The table of what visitors wrote."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, Table, Text, func, insert, select

from shop.database import Database
from shop.reviews.domain import Review

SCHEMA = MetaData()
WRITTEN_MAX = 500  # of one product; a later review gets a thank-you that says so
_reviews = Table(
    "reviews",
    SCHEMA,
    Column("key", Text, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("stars", Integer, CheckConstraint("stars BETWEEN 1 AND 5"), nullable=False),
    Column("text", Text, nullable=False),
    Column("on", Text, nullable=False),
    Index("reviews_by_sku", "sku", "on"),
)
_PUBLIC = [_reviews.c[name] for name in ("sku", "author", "stars", "text", "on")]


class ReviewStore:
    """What visitors wrote, in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: str, review: Review) -> bool:
        """Keep a review, once per key; False when the product has as many as it may."""
        known = select(_reviews.c.key).where(_reviews.c.key == key)
        others = select(func.count()).select_from(_reviews).where(_reviews.c.sku == review.sku)
        async with self._database.write(about=review.sku) as connection:
            if (await connection.execute(known)).first() is not None:
                return True
            if (await connection.execute(others)).scalar_one() >= WRITTEN_MAX:
                return False
            row = {name: getattr(review, name) for name in ("sku", "author", "stars", "text", "on")}
            await connection.execute(insert(_reviews).values(key=key, **row))
        return True

    async def of(self, sku: str) -> list[Review]:
        """The reviews of a product, the newest first."""
        query = select(*_PUBLIC).where(_reviews.c.sku == sku).order_by(_reviews.c.on.desc(), _reviews.c.key)
        return [Review(**row._asdict()) for row in await self._database.rows(query)]

    async def stars(self, skus: Sequence[str]) -> dict[str, list[int]]:
        """The stars that were given to each of these products."""
        query = select(_reviews.c.sku, _reviews.c.stars).where(_reviews.c.sku.in_(skus))
        found: dict[str, list[int]] = {sku: [] for sku in skus}
        for row in await self._database.rows(query):
            found[row.sku].append(row.stars)
        return found
