"""What may be asked of the catalog: pages, words, facets, fields."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import NamedTuple

from sdpatterns.errors import CursorNotValid
from sdpatterns.web.cursors import Cursors
from shop.catalog.domain import FIELDS, Product, categories
from shop.validation import FieldError, InvalidInput, printable

PAGE_DEFAULT, PAGE_MAX = 24, 100
QUERY_MAX = 80
WORDS_MAX = 8
NAME_MAX = 60
PRICE_MAX_MINOR = 10_000_000
PRICE_STEPS_MINOR = (5_000, 10_000, 15_000, 20_000)
SORTS = ("featured", "price", "-price")

_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")


class Mark(NamedTuple):
    """Where a page ended: the sku of its last product, and its price where that decides the order."""

    sku: str
    price_minor: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which products are meant: those that match all of it."""

    words: tuple[str, ...] = ()
    category: str = ""
    maker: str = ""
    price_from: int = 0
    price_below: int = PRICE_MAX_MINOR
    without: tuple[str, ...] = ()

    @property
    def narrows_price(self) -> bool:
        """Whether any price is left out."""
        return (self.price_from, self.price_below) != (0, PRICE_MAX_MINOR)


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRequest:
    """Which products are wanted, in which order, after which one, with which fields."""

    limit: int
    after: Mark | None
    sort: str
    filter: Filter
    fields: tuple[str, ...]

    @property
    def of(self) -> str:
        """What cursors of this list are for: its order and its filter, except what is sold out meanwhile."""
        narrowed = self.filter
        shown = (narrowed.words, narrowed.category, narrowed.maker, narrowed.price_from, narrowed.price_below)
        return json.dumps([self.sort, *shown])


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text as they are looked up: lower case, without accents."""
    plain = text.lower()
    if not plain.isascii():
        plain = "".join(each for each in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(each))
    return tuple(_WORD.findall(plain))


def indexed_words(product: Product) -> set[str]:
    """The words a product is found by."""
    return set(words_of(f"{product.sku} {product.title} {product.category} {product.maker}"))


def wanted_words(text: str) -> tuple[str, ...]:
    """The beginnings of words that a search means; a plural finds the singular too.

    A search of signs alone means something that nothing here is called.
    """
    found = words_of(text)[:WORDS_MAX]
    return tuple(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found) or (text,) * bool(text)


def parse_page(query: dict[str, str], cursors: Cursors) -> PageRequest:
    """A page request from query parameters; InvalidInput names the parameter at fault."""
    sort = query.get("sort") or SORTS[0]
    if sort not in SORTS:
        raise InvalidInput(FieldError("/sort", f"must be one of {', '.join(SORTS)}"))
    request = PageRequest(
        limit=_whole("limit", query, PAGE_DEFAULT, 1, PAGE_MAX),
        after=None,
        sort=sort,
        filter=parse_filter(query),
        fields=parse_fields(query.get("fields", "")),
    )
    cursor = query.get("cursor", "")
    return replace(request, after=_mark(cursor, cursors, request.of)) if cursor else request


def _mark(cursor: str, cursors: Cursors, of: str) -> Mark:
    try:
        sku, price_minor = cursors.read(cursor, of=of)
    except CursorNotValid:
        raise InvalidInput(FieldError("/cursor", "is not a cursor of this list")) from None
    return Mark(str(sku), int(price_minor or 0))


def parse_filter(query: dict[str, str]) -> Filter:
    """What narrows a list down; a maker that we do not have matches nothing."""
    category = _text("category", query, NAME_MAX)
    if category and category not in categories():
        raise InvalidInput(FieldError("/category", "is not a category of this shop"))
    return Filter(
        words=wanted_words(_text("q", query, QUERY_MAX)),
        category=category,
        maker=_text("maker", query, NAME_MAX),
        price_from=_whole("price_from", query, 0, 0, PRICE_MAX_MINOR),
        price_below=_whole("price_below", query, PRICE_MAX_MINOR, 0, PRICE_MAX_MINOR),
    )


def _text(name: str, query: dict[str, str], length_max: int) -> str:
    text = query.get(name, "").strip()
    if len(text) > length_max or not printable(text):
        raise InvalidInput(FieldError(f"/{name}", f"must be printable and have at most {length_max} characters"))
    return text


def _whole(name: str, query: dict[str, str], otherwise: int, low: int, high: int) -> int:
    text = query.get(name, "")
    if not text:
        return otherwise
    if text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high:
        return int(text)
    raise InvalidInput(FieldError(f"/{name}", f"must be a whole number from {low} to {high}"))


def parse_fields(text: str) -> tuple[str, ...]:
    """The wanted fields in their natural order; all of them when none is named."""
    wanted = {name.strip() for name in text.split(",") if name.strip()}
    if not wanted <= set(FIELDS):
        raise InvalidInput(FieldError("/fields", f"must be a list of {', '.join(FIELDS)}"))
    return tuple(name for name in FIELDS if name in wanted) or FIELDS


def price_bands() -> list[tuple[int, int]]:
    """The price ranges a list can be narrowed to, each from its first price to just below its second."""
    return list(zip((0, *PRICE_STEPS_MINOR), (*PRICE_STEPS_MINOR, PRICE_MAX_MINOR), strict=True))
