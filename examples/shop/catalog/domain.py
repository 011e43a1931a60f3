"""Products, and the range the shop opens with: the same for the same seed."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

CURRENCY = "EUR"
DROPS = 12  # the first products are limited drops, scarce on purpose
SEED_COUNT = 5_000

# A drop that is not in here is open from the start; the others open so many minutes after it.
OPENS_AFTER_MIN = {9: 5, 10: 15, 11: 45, 12: 120}


class Kind(NamedTuple):
    """A kind of product: what it does, what it can be made of, and its price range in minor units."""

    use: str
    materials: tuple[str, ...]
    price_from: int
    price_below: int


_WOODS = ("Oak", "Ash", "Walnut")
_FABRICS = ("Linen", "Wool", "Cotton")
_KINDS = {
    "Lighting": {
        "Desk Lamp": Kind("Lights the page and not your eyes", (*_WOODS, "Brass", "Steel"), 6_900, 18_900),
        "Lantern": Kind(
            "Hangs from a branch or a hook, indoors and outdoors", ("Brass", "Steel", "Glass"), 3_900, 9_900
        ),
        "Pendant Light": Kind("Hangs low over a table", ("Glass", "Brass", "Clay", "Linen", "Cork"), 8_900, 24_900),
        "Candle Holder": Kind("Heavy, so it does not fall over", ("Brass", "Clay", "Slate", "Glass"), 1_900, 4_900),
        "Reading Light": Kind("Bends to one book and leaves the room dark", ("Brass", "Steel", "Oak"), 4_900, 12_900),
    },
    "Kitchen": {
        "Teapot": Kind("Pours without a drip", ("Clay", "Glass", "Steel"), 3_900, 9_900),
        "Mug": Kind("Holds 350 ml and keeps it warm", ("Clay", "Glass", "Steel"), 1_200, 2_900),
        "Carafe": Kind("Holds one litre of water or wine", ("Glass", "Clay", "Steel"), 2_400, 5_900),
        "Salad Bowl": Kind("Wide enough to toss a salad for six", (*_WOODS, "Clay", "Glass"), 2_900, 8_900),
        "Cutting Board": Kind("Kind to knives, and good-looking on the table", (*_WOODS, "Cork"), 2_400, 6_900),
        "Pepper Mill": Kind(
            "Grinds from fine to coarse with one turn of the knob", (*_WOODS, "Brass", "Steel"), 2_900, 6_900
        ),
    },
    "Textiles": {
        "Blanket": Kind("Large enough for two", ("Wool", "Cotton"), 6_900, 19_900),
        "Cushion": Kind("Firm in the middle, soft at the edges, washable", _FABRICS, 2_400, 6_900),
        "Tea Towel": Kind("Dries a glass in one pass and gets better with every wash", ("Linen", "Cotton"), 900, 2_400),
        "Scarf": Kind("Goes twice around the neck", _FABRICS, 2_900, 8_900),
        "Rug": Kind("Lies flat, stays in place and is easy to clean", ("Wool", "Cotton"), 9_900, 24_900),
    },
    "Stationery": {
        "Notebook": Kind("Opens flat, and ink does not show on the back", ("Linen", "Cork", "Cotton"), 900, 2_400),
        "Fountain Pen": Kind(
            "Starts on the first stroke, even after a summer in a drawer", ("Brass", "Steel", *_WOODS), 3_900, 14_900
        ),
        "Pencil Case": Kind("Holds the eight pens that you use", ("Linen", "Cotton", "Cork"), 1_200, 3_400),
        "Calendar": Kind("Has one line for each day", ("Linen", "Oak", "Cork"), 1_400, 3_900),
        "Ruler": Kind(
            "Marked on both sides, exact to a tenth of a millimetre", ("Brass", "Steel", *_WOODS), 900, 2_900
        ),
    },
    "Outdoor": {
        "Thermos": Kind("Keeps tea hot for twelve hours", ("Steel", "Cork"), 2_900, 5_900),
        "Rucksack": Kind("Holds what you need for a weekend", ("Linen", "Cotton"), 7_900, 18_900),
        "Camp Stove": Kind("Boils a litre in three minutes, also in wind", ("Steel", "Brass"), 4_900, 11_900),
        "Hammock": Kind("Needs two trees and two knots", ("Cotton", "Linen"), 4_900, 12_900),
        "Trowel": Kind("Cuts through roots and does not bend", ("Steel", "Ash", "Oak"), 1_400, 3_400),
    },
    "Audio": {
        "Turntable": Kind("Heavy base, light arm, no hum", _WOODS, 14_900, 24_900),
        "Loudspeaker": Kind("Fills a living room", (*_WOODS, "Cork"), 11_900, 24_900),
        "Headphones": Kind("Light enough to forget that you wear them", ("Walnut", "Steel", "Ash"), 7_900, 22_900),
        "Radio": Kind("One dial for the station, one for the volume", (*_WOODS, "Cork"), 5_900, 16_900),
    },
}
_ADJECTIVES = (
    "Quiet",
    "Nordic",
    "Bright",
    "Slow",
    "Amber",
    "Gentle",
    "Coastal",
    "Plain",
    "Midnight",
    "Russet",
    "Early",
    "Wild",
)
_MATERIALS = {
    "Oak": "Oak from old fences, oiled twice",
    "Linen": "Undyed linen, spun and woven in one valley",
    "Wool": "Wool from sheep that graze on the coast",
    "Cotton": "Heavy cotton, dyed with plants",
    "Brass": "Solid brass without lacquer, which darkens with use",
    "Clay": "Stoneware clay, thrown by hand and fired for two days",
    "Cork": "Cork that the tree grows back every nine years",
    "Glass": "Mouth-blown glass with a bubble here and there",
    "Steel": "Brushed steel without a visible seam",
    "Ash": "Pale ash, steamed and bent in one piece",
    "Slate": "Slate split by hand, each face a little different",
    "Walnut": "Walnut, finished with wax",
}
_MAKERS = {
    "Hallgren": "a family of joiners in Småland",
    "Okafor & Sons": "three brothers with a foundry in Enugu",
    "Maison Brel": "a workshop above a bakery in Liège",
    "Tanaka Works": "eleven people and a kiln near Kanazawa",
    "Iversen": "boat builders who ran out of boats, in Bergen",
    "Studio Pomar": "two sisters in a former cork mill at Évora",
    "Kestrel Lane": "a cooperative in a Sheffield cutlers' yard",
    "Vdara": "a one-woman studio in the hills behind Trieste",
}


class Product(NamedTuple):
    """Something for sale; the price is in minor units, and nobody may have it before it opens."""

    sku: str
    title: str
    description: str
    category: str
    maker: str
    price_minor: int
    currency: str = CURRENCY
    drop: bool = False
    opens_at_us: int | None = None

    def public(self) -> dict[str, Any]:
        """The product as a JSON object."""
        opens_at = None if self.opens_at_us is None else instant(self.opens_at_us)
        return dict(zip(FIELDS, (*self[:-1], opens_at), strict=True))


FIELDS = ("sku", "title", "description", "category", "maker", "price_minor", "currency", "drop", "opens_at")


@functools.lru_cache(maxsize=1_024)
def instant(at_us: int) -> str:
    """Microseconds since 1970 as an ISO 8601 instant."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="seconds")


def pick(product: Product, fields: tuple[str, ...]) -> dict[str, Any]:
    """The chosen fields of a product as a JSON object."""
    whole = product.public()
    return whole if fields == FIELDS else {name: whole[name] for name in fields}


def categories() -> tuple[str, ...]:
    """The categories of this shop."""
    return tuple(_KINDS)


def makers() -> tuple[str, ...]:
    """The workshops whose products are sold here."""
    return tuple(_MAKERS)


def nouns() -> tuple[str, ...]:
    """The names of all kinds of products."""
    return tuple(noun for kinds in _KINDS.values() for noun in kinds)


def workshop(maker: str) -> str:
    """A maker in a few words."""
    return _MAKERS.get(maker, "")


def seed_products(seed: int, count: int = SEED_COUNT, *, opened_at_us: int = 0) -> Iterator[Product]:
    """The same range of products for the same seed; upcoming drops count from `opened_at_us`."""
    chance = random.Random(f"catalog-{seed}")
    for number in range(1, count + 1):
        drop = number <= DROPS
        category = chance.choice(categories())
        noun, kind = chance.choice(tuple(_KINDS[category].items()))
        adjective, material = chance.choice(_ADJECTIVES), chance.choice(kind.materials)
        maker = chance.choice(makers())
        edition = f"Drop No. {number}: " if drop else ""
        after_min = OPENS_AFTER_MIN.get(number)
        yield Product(
            sku=f"SP-{number:05d}",
            title=f"{edition}{adjective} {material} {noun}",
            description=_describe(kind.use, material, maker, drop=drop),
            category=category,
            maker=maker,
            price_minor=chance.randrange(kind.price_from, kind.price_below + 50, 50) * (2 if drop else 1),
            drop=drop,
            opens_at_us=None if after_min is None else opened_at_us + after_min * 60_000_000,
        )


def _describe(use: str, material: str, maker: str, *, drop: bool) -> str:
    made = f"Made by {maker}, {_MAKERS[maker]}"
    ending = "in one batch of ten pieces." if drop else "in small series. It can be repaired."
    return f"{use}. {_MATERIALS[material]}. {made}, {ending}"
