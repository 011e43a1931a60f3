"""Reviews: what a buyer may say, and what the first buyers of each product said, the same for the same seed."""

from __future__ import annotations

import bisect
import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from shop.catalog.domain import SEED_COUNT
from shop.validation import Fields

STARS = (5, 4, 3, 2, 1)
TEXT_MAX = 600
AUTHOR_MAX = 40
SEEDED_MAX = 14
_LIKINGS = ((90, 190, 230, 248), (140, 215, 240, 250), (175, 230, 246, 253), (215, 248, 253, 255))  # of 256
_SEEDED_FROM = date(2024, 3, 1)
_SEEDED_DAYS = 600

_AUTHORS = (
    "Ines",
    "Tomasz",
    "Amara",
    "Jonas",
    "Mei",
    "Callum",
    "Leila",
    "Henrik",
    "Priya",
    "Marguerite",
    "Davide",
    "Noor",
    "Ewa",
    "Kofi",
    "Sunniva",
    "Rafael",
    "Hanna",
    "Otto",
    "Yuki",
    "Beatriz",
)
_SAID = {
    5: (
        "Heavier than it looks, in the good way. It has already been asked after by two visitors.",
        "I bought one, then a second for my sister, and I regret only the days in between.",
        "You can tell that somebody cared about the side nobody sees.",
        "Used every day since March. It looks better now than when it came.",
        "Exactly as pictured, wrapped in paper and not in plastic. Thank you.",
        "The kind of thing you stop noticing because it simply works.",
    ),
    4: (
        "Lovely, and a shade darker than I had imagined. I have grown to like it.",
        "Very well made. One star less because I had to wait for the next batch.",
        "Does what it should. A longer guide to looking after it would be welcome.",
        "A little smaller than expected, so measure first. Otherwise perfect.",
        "My second from this workshop. The first was a touch finer, this one is sturdier.",
    ),
    3: (
        "Good, but not as good as the price made me hope.",
        "Arrived with a scratch. It was replaced at once, so three stars for the trouble.",
        "Fine for what I do. I expected it to feel more solid.",
    ),
    2: (
        "Pretty on the shelf, less so in use. I keep reaching for my old one.",
        "The finish came off at one edge within a month. They did offer to repair it.",
    ),
    1: ("Not for me. It went back, and the money came without any discussion.",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """What one buyer said of one product."""

    sku: str
    author: str
    stars: int
    text: str
    on: str

    def public(self) -> dict[str, Any]:
        """The review as a JSON object."""
        return {"author": self.author, "stars": self.stars, "text": self.text, "on": self.on}


def seeded_stars(sku: str, seed: int) -> list[int]:
    """The stars the first buyers gave; cheap, for thousands are ranked by them."""
    number = sku.removeprefix("SP-")
    if not (number.isdigit() and number.isascii() and len(number) == 5 and 1 <= int(number) <= SEED_COUNT):
        return []
    count, liking, *dice = hashlib.blake2b(f"{seed} {sku}".encode(), digest_size=2 + SEEDED_MAX).digest()
    bounds = _LIKINGS[liking % len(_LIKINGS)]  # some things are liked more than others
    return [5 - bisect.bisect(bounds, die) for die in dice[: count % (SEEDED_MAX + 1)]]


def seeded(sku: str, seed: int) -> list[Review]:
    """What the first buyers of a product said, the newest first; computed when asked for, never stored."""
    stars = seeded_stars(sku, seed)
    chance = random.Random(f"reviews-{seed}-{sku}")
    authors = chance.sample(_AUTHORS, len(stars))
    days = sorted((chance.randrange(_SEEDED_DAYS) for _ in stars), reverse=True)
    left = {star: chance.sample(said, len(said)) for star, said in _SAID.items()}
    return [
        Review(
            sku=sku,
            author=author,
            stars=star,
            text=left[star].pop() if left[star] else "",  # some only leave their stars
            on=(_SEEDED_FROM + timedelta(days=day)).isoformat(),
        )
        for author, day, star in zip(authors, days, stars, strict=True)
    ]


def summary(stars: Iterable[int]) -> dict[str, Any]:
    """How many reviews there are, their average to one place, and how many gave each number of stars."""
    given = list(stars)
    average = round(sum(given) / len(given), 1) if given else None
    return {"count": len(given), "average": average, "stars": {str(star): given.count(star) for star in STARS}}


def esteem(stars: Sequence[int]) -> float:
    """How well liked a product is: its average, drawn towards the middle while few have spoken."""
    return (sum(stars) + 5 * 3.5) / (len(stars) + 5)


def parse_review(body: Any) -> tuple[str, str, int, str]:
    """The key, author, stars and text of a review; InvalidInput names every field at fault."""
    fields = Fields(body)
    key = fields.slug("key")
    author = fields.text("author", length_max=AUTHOR_MAX)
    stars = fields.whole("stars", 1, 5)
    text = fields.text("text", length_max=TEXT_MAX)
    fields.done()
    return key, author, stars, text
