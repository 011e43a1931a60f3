"""The catalog's tables: products, and the words they are found by."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql

from shop.catalog.domain import Product
from shop.catalog.search import PRICE_MAX_MINOR, PRICE_STEPS_MINOR, Filter, Mark, PageRequest, indexed_words
from shop.database import Database, insert_into

SCHEMA = MetaData()
_CURSORS, _KEY_BYTES = "cursors", 32
_WORD_END = "\U0010ffff"  # no word goes on with this, so that what begins with a word ends before it
_products = Table(
    "products",
    SCHEMA,
    Column("sku", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("maker", Text, nullable=False),
    Column("price_minor", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("drop", Boolean, nullable=False),
    Column("opens_at_us", BigInteger),
    Index("products_by_category", "category", "sku"),
    Index("products_by_maker", "maker", "sku"),
    Index("products_by_price", "price_minor", "sku"),
    Index("products_by_facet", "category", "maker", "price_minor"),
)
_words = Table(
    "words",
    SCHEMA,
    # Compared byte by byte everywhere, so that the index answers for all words with the same beginning.
    Column("word", Text().with_variant(postgresql.TEXT(collation="C"), "postgresql"), primary_key=True),
    Column("sku", Text, primary_key=True),
)
_keys = Table("keys", SCHEMA, Column("purpose", Text, primary_key=True), Column("key", LargeBinary, nullable=False))
_band = case(*((_products.c.price_minor < step, step) for step in PRICE_STEPS_MINOR), else_=PRICE_MAX_MINOR)


class CatalogStore:
    """Products in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key(self) -> bytes:
        """What all replicas sign cursors with, thought up at the first start."""
        async with self._database.write() as connection:
            thought_up = insert_into(_keys, connection).values(purpose=_CURSORS, key=secrets.token_bytes(_KEY_BYTES))
            await connection.execute(thought_up.on_conflict_do_nothing())
            kept = select(_keys.c.key).where(_keys.c.purpose == _CURSORS)
            return bytes((await connection.execute(kept)).scalar_one())

    async def count(self) -> int:
        """How many products there are."""
        ((count,),) = await self._database.rows(select(func.count()).select_from(_products))
        return int(count)

    async def add(self, products: Iterable[Product]) -> None:
        """Insert products and their words, all or none."""
        known = list(products)
        words = [{"word": word, "sku": product.sku} for product in known for word in indexed_words(product)]
        words.sort(key=lambda row: (row["word"], row["sku"]))  # in the order of the index, which fills it quickly
        async with self._database.write() as connection:
            await connection.execute(insert(_products), [product._asdict() for product in known])
            await connection.execute(insert(_words), words)

    async def page(self, request: PageRequest) -> list[Product]:
        """One product more than the limit, when there is one, so that the caller sees whether a page follows."""
        # A search looks at as many words as match, which is no matter of a few rows.
        read = self._database.rows if request.filter.words else self._database.few
        return [Product._make(row) for row in await read(_page(request))]

    async def find(self, skus: Sequence[str]) -> list[Product]:
        """The products among these skus that exist."""
        query = select(_products).where(_products.c.sku.in_(skus))
        return [Product._make(row) for row in await self._database.few(query)]

    async def facets(self, wanted: Filter) -> dict[str, dict[Any, int]]:
        """How many products each category, maker and price band has; none is narrowed by its own choice."""
        parts = {"category": _products.c.category, "maker": _products.c.maker, "price": _band}
        queries = (
            select(part, func.count()).where(*_matching(wanted, but=name)).group_by(part)
            for name, part in parts.items()
        )
        found = await self._database.read(*queries)
        return {name: dict(map(tuple, rows)) for name, rows in zip(parts, found, strict=True)}

    async def total(self, wanted: Filter) -> int:
        """How many products match."""
        query = select(func.count()).select_from(_products).where(*_matching(wanted))
        ((count,),) = await self._database.rows(query)
        return int(count)


@functools.lru_cache(maxsize=256)
def _page(request: PageRequest) -> Select[Any]:
    """The query for a page; most ask for the same few, and to make one takes longer than to run it."""
    price, sku = _products.c.price_minor, _products.c.sku
    order = {"price": (price, sku), "-price": (price.desc(), sku.desc())}.get(request.sort, (sku,))
    query = select(_products).where(*_matching(request.filter))
    if request.after is not None:
        query = query.where(_behind(request.after, request.sort))
    return query.order_by(*order).limit(request.limit + 1)


def _matching(wanted: Filter, but: str = "") -> list[ColumnElement[bool]]:
    """The conditions of a filter, leaving one facet out."""
    clauses: list[ColumnElement[bool]] = []
    for word in wanted.words:
        found = select(_words.c.sku).where(_words.c.word >= word, _words.c.word < word + _WORD_END)
        clauses.append(_products.c.sku.in_(found))
    if wanted.category and but != "category":
        clauses.append(_products.c.category == wanted.category)
    if wanted.maker and but != "maker":
        clauses.append(_products.c.maker == wanted.maker)
    if wanted.narrows_price and but != "price":
        clauses.append(_products.c.price_minor >= wanted.price_from)
        clauses.append(_products.c.price_minor < wanted.price_below)
    if wanted.without:
        clauses.append(_products.c.sku.not_in(wanted.without))
    return clauses


def _behind(mark: Mark, sort: str) -> ColumnElement[bool]:
    """The products that come after a mark in this order."""
    price, sku = _products.c.price_minor, _products.c.sku
    if sort == "price":
        return or_(price > mark.price_minor, and_(price == mark.price_minor, sku > mark.sku))
    if sort == "-price":
        return or_(price < mark.price_minor, and_(price == mark.price_minor, sku < mark.sku))
    return sku > mark.sku
