"""Products, and the range the shop opens with: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

CURRENCY = "EUR"
DROPS = 12  # the first products are limited drops, scarce on purpose
SEED_COUNT = 5_000

# A drop that is not in here is open from the start; the others open so many minutes after it.
OPENS_AFTER_MIN = {9: 5, 10: 15, 11: 45, 12: 120}

# What each thing is good for, in the words of its page.
_NOUNS = {
    "Lighting": {
        "Desk Lamp": "A pool of light exactly where the page is, and none in the eyes of whoever sits opposite",
        "Lantern": "Hangs from a branch, a hook or a finger, and makes any table outside feel like a room",
        "Pendant Light": "Turns the middle of a table into the middle of the evening",
        "Candle Holder": "Heavy enough that no sleeve will ever knock it over",
        "Reading Light": "Bends to one book and leaves the other half of the bed in peace",
    },
    "Kitchen": {
        "Teapot": "Pours without a drip, which is all that was ever asked of a teapot",
        "Mug": "Holds a little more than you think, and keeps it warm a little longer",
        "Carafe": "For water at noon and for something better after six",
        "Salad Bowl": "Wide enough to toss without chasing leaves across the table",
        "Cutting Board": "Kind to knives, and good-looking enough to bring the bread on",
        "Pepper Mill": "From dust to boulders in one turn of the knob",
    },
    "Textiles": {
        "Wool Blanket": "Just large enough for two who like each other",
        "Cushion": "Firm in the middle, soft at the edges, and washable all over",
        "Tea Towel": "Dries a glass in one pass and gets better with every wash",
        "Scarf": "Twice around the neck and still something left for the wind",
        "Rug": "Lies flat, stays put and forgives most dinners",
    },
    "Stationery": {
        "Notebook": "Opens flat on page one, and takes ink without showing it on the back",
        "Fountain Pen": "Starts on the first stroke, even after a summer in a drawer",
        "Pencil Case": "Room for the eight you use and none for the thirty you don't",
        "Calendar": "One line for each day, because that is what most days need",
        "Ruler": "Marked on both sides and true to a tenth of a millimetre",
    },
    "Outdoor": {
        "Thermos": "Still hot at the summit, and at the bus stop on the way home",
        "Rucksack": "Carries a weekend and sits like a jacket",
        "Camp Stove": "Boils a litre in three minutes on a windy pass",
        "Hammock": "Two knots between you and an afternoon",
        "Trowel": "Cuts through roots and never bends at the neck",
    },
    "Audio": {
        "Turntable": "Heavy plinth, light arm, and nothing in between that hums",
        "Loudspeaker": "Fills a living room and leaves the neighbours out of it",
        "Headphones": "Light enough to forget, until the second movement begins",
        "Radio": "One dial for the station, one for the volume, and that is all of the manual",
    },
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
_MATERIALS = {
    "Oak": "Oak from old fences, oiled twice",
    "Linen": "Undyed linen, spun and woven within one valley",
    "Brass": "Solid brass without lacquer, which darkens where hands go",
    "Clay": "Stoneware clay, thrown by hand and fired for two days",
    "Cork": "Cork that the tree grows back every nine years",
    "Glass": "Mouth-blown glass with a bubble here and there",
    "Steel": "Brushed steel, welded without a seam to be seen",
    "Ash": "Pale ash, steamed and bent in one piece",
    "Slate": "Slate split by hand, each face a little different",
    "Walnut": "Walnut with all its figure, finished with wax",
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
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
        whole = {name: getattr(self, name) for name in FIELDS[:-1]}
        whole["opens_at"] = None if self.opens_at_us is None else instant(self.opens_at_us)
        return whole


FIELDS = ("sku", "title", "description", "category", "maker", "price_minor", "currency", "drop", "opens_at")


def instant(at_us: int) -> str:
    """Microseconds since 1970 as an ISO 8601 instant."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="seconds")


def pick(product: Product, fields: tuple[str, ...]) -> dict[str, Any]:
    """The chosen fields of a product as a JSON object."""
    whole = product.public()
    return {name: whole[name] for name in fields}


def categories() -> tuple[str, ...]:
    """The categories of this shop."""
    return tuple(_NOUNS)


def makers() -> tuple[str, ...]:
    """Everybody whose things are sold here."""
    return tuple(_MAKERS)


def materials() -> tuple[str, ...]:
    """What the things are made of."""
    return tuple(_MATERIALS)


def nouns() -> tuple[str, ...]:
    """The kinds of things there are."""
    return tuple(noun for kinds in _NOUNS.values() for noun in kinds)


def workshop(maker: str) -> str:
    """A maker in a few words."""
    return _MAKERS.get(maker, "")


def seed_products(seed: int, count: int = SEED_COUNT, *, opened_at_us: int = 0) -> Iterator[Product]:
    """The same range of products for the same seed; upcoming drops count from `opened_at_us`."""
    chance = random.Random(f"catalog-{seed}")
    categories = tuple(_NOUNS)
    materials, makers = tuple(_MATERIALS), tuple(_MAKERS)
    for number in range(1, count + 1):
        drop = number <= DROPS
        category = chance.choice(categories)
        adjective, material, noun = (
            chance.choice(_ADJECTIVES),
            chance.choice(materials),
            chance.choice(tuple(_NOUNS[category])),
        )
        maker = chance.choice(makers)
        edition = f"Drop No. {number}: " if drop else ""
        after_min = OPENS_AFTER_MIN.get(number)
        yield Product(
            sku=f"SP-{number:05d}",
            title=f"{edition}{adjective} {material} {noun}",
            description=_describe(_NOUNS[category][noun], material, maker, drop=drop),
            category=category,
            maker=maker,
            price_minor=chance.randrange(900, 24_900, 50) + (20_000 if drop else 0),
            drop=drop,
            opens_at_us=None if after_min is None else opened_at_us + after_min * 60_000_000,
        )


def _describe(use: str, material: str, maker: str, *, drop: bool) -> str:
    made = f"Made by {maker}, {_MAKERS[maker]}"
    ending = "in one batch of ten, never again." if drop else "in small series; repairable, and meant to be kept."
    return f"{use}. {_MATERIALS[material]}. {made}, {ending}"
