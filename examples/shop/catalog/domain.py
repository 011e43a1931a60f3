"""Products, pages of products and the deterministic range the shop opens with."""

from __future__ import annotations

import base64
import binascii
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from shop.values import FieldError, InvalidInput, is_slug, printable

CURRENCY = "EUR"
PAGE_DEFAULT, PAGE_MAX = 24, 100
QUERY_MAX = 80
DROPS = 12  # the first products are limited drops, scarce on purpose
SEED_COUNT = 5_000

_NOUNS = {
    "Lighting": ("Desk Lamp", "Lantern", "Pendant Light", "Candle Holder", "Reading Light"),
    "Kitchen": ("Teapot", "Mug", "Carafe", "Salad Bowl", "Cutting Board", "Pepper Mill"),
    "Textiles": ("Wool Blanket", "Cushion", "Tea Towel", "Scarf", "Rug"),
    "Stationery": ("Notebook", "Fountain Pen", "Pencil Case", "Calendar", "Ruler"),
    "Outdoor": ("Thermos", "Rucksack", "Camp Stove", "Hammock", "Trowel"),
    "Audio": ("Turntable", "Loudspeaker", "Headphones", "Radio"),
}
_ADJECTIVES = (
    "Quiet",
    "Nordic",
    "Bright",
    "Slow",
    "Amber",
    "Folded",
    "Coastal",
    "Plain",
    "Midnight",
    "Copper",
    "Early",
    "Wild",
)
_MATERIALS = ("Oak", "Linen", "Brass", "Clay", "Cork", "Glass", "Steel", "Ash", "Slate", "Walnut")
_MAKERS = (
    "Hallgren",
    "Okafor & Sons",
    "Maison Brel",
    "Tanaka Works",
    "Iversen",
    "Studio Pomar",
    "Kestrel Lane",
    "Vdara",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """Something for sale; the price is in minor units."""

    sku: str
    title: str
    description: str
    category: str
    maker: str
    price_minor: int
    currency: str = CURRENCY
    drop: bool = False


FIELDS = tuple(Product.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRequest:
    """Which products are wanted: after a sku, matching all words, with these fields."""

    limit: int
    after: str
    words: tuple[str, ...]
    category: str
    fields: tuple[str, ...]


def seed_products(seed: int, count: int = SEED_COUNT) -> Iterator[Product]:
    """The same range of products for the same seed."""
    chance = random.Random(f"catalog-{seed}")
    categories = tuple(_NOUNS)
    for number in range(1, count + 1):
        drop = number <= DROPS
        category = chance.choice(categories)
        adjective, material, noun = (
            chance.choice(_ADJECTIVES),
            chance.choice(_MATERIALS),
            chance.choice(_NOUNS[category]),
        )
        maker = chance.choice(_MAKERS)
        edition = f"Drop No. {number}: " if drop else ""
        yield Product(
            sku=f"SP-{number:05d}",
            title=f"{edition}{adjective} {material} {noun}",
            description=f"{noun} in {material.lower()}, made by {maker} in small series. "
            f"{'One batch of ten, never again.' if drop else 'Repairable, and meant to be kept.'}",
            category=category,
            maker=maker,
            price_minor=chance.randrange(900, 24_900, 50) + (20_000 if drop else 0),
            drop=drop,
        )


def encode_cursor(sku: str) -> str:
    """An opaque mark that a page ended at this sku."""
    return base64.urlsafe_b64encode(sku.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The sku a page ended at; InvalidInput for a cursor that we never gave out."""
    try:
        sku = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("ascii")
    except (ValueError, binascii.Error):
        sku = ""
    if not is_slug(sku):
        raise InvalidInput(FieldError("/cursor", "is not a cursor of this list"))
    return sku


def parse_page(query: dict[str, str]) -> PageRequest:
    """A page request from query parameters; InvalidInput names the parameter at fault."""
    text = query.get("q", "").strip()
    if len(text) > QUERY_MAX or not printable(text):
        raise InvalidInput(FieldError("/q", f"must be printable and have at most {QUERY_MAX} characters"))
    category = query.get("category", "")
    if category and category not in _NOUNS:
        raise InvalidInput(FieldError("/category", "is not a category of this shop"))
    cursor = query.get("cursor", "")
    return PageRequest(
        limit=_parse_limit(query.get("limit", "")),
        after=decode_cursor(cursor) if cursor else "",
        words=tuple(text.lower().split()),
        category=category,
        fields=parse_fields(query.get("fields", "")),
    )


def _parse_limit(text: str) -> int:
    if not text:
        return PAGE_DEFAULT
    if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= PAGE_MAX:
        return int(text)
    raise InvalidInput(FieldError("/limit", f"must be a whole number from 1 to {PAGE_MAX}"))


def parse_fields(text: str) -> tuple[str, ...]:
    """The wanted fields in their natural order; all of them when none is named."""
    wanted = {name.strip() for name in text.split(",") if name.strip()}
    if not wanted <= set(FIELDS):
        raise InvalidInput(FieldError("/fields", f"must be a list of {', '.join(FIELDS)}"))
    return tuple(name for name in FIELDS if name in wanted) or FIELDS


def pick(product: Product, fields: tuple[str, ...]) -> dict[str, Any]:
    """The chosen fields of a product as a JSON object."""
    whole = asdict(product)
    return {name: whole[name] for name in fields}


def categories() -> tuple[str, ...]:
    """The categories of this shop."""
    return tuple(_NOUNS)
