"""The catalog's table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Boolean, Column, Integer, MetaData, Select, Table, Text, func, insert, select

from shop.catalog.domain import PageRequest, Product
from shop.database import Database

SCHEMA = MetaData()
_products = Table(
    "products",
    SCHEMA,
    Column("sku", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("category", Text, nullable=False, index=True),
    Column("maker", Text, nullable=False),
    Column("price_minor", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("drop", Boolean, nullable=False),
    Column("words", Text, nullable=False),
)
_PUBLIC = [column for column in _products.c if column.name != "words"]


class CatalogStore:
    """Products in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self) -> int:
        """How many products there are."""
        async with self._database.read() as connection:
            return (await connection.execute(select(func.count()).select_from(_products))).scalar_one()

    async def add(self, products: Iterable[Product]) -> None:
        """Insert products, all or none."""
        rows = [asdict(product) | {"words": _words(product)} for product in products]
        async with self._database.write() as connection:
            await connection.execute(insert(_products), rows)

    async def page(self, request: PageRequest) -> list[Product]:
        """One product more than the limit, when there is one, so that the caller sees whether a page follows."""
        query: Select[Any] = select(*_PUBLIC).where(_products.c.sku > request.after)
        for word in request.words:
            query = query.where(_products.c.words.contains(word, autoescape=True))
        if request.category:
            query = query.where(_products.c.category == request.category)
        return await self._load(query.order_by(_products.c.sku).limit(request.limit + 1))

    async def find(self, skus: Sequence[str]) -> list[Product]:
        """The products among these skus that exist."""
        return await self._load(select(*_PUBLIC).where(_products.c.sku.in_(skus)))

    async def _load(self, query: Select[Any]) -> list[Product]:
        async with self._database.read() as connection:
            return [Product(**row) for row in (await connection.execute(query)).mappings()]


def _words(product: Product) -> str:
    return f"{product.sku} {product.title} {product.category} {product.maker} {product.description}".lower()
