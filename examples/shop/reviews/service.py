"""What reviews do: tell what buyers said, take what they say, and which products they love."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from shop.catalog.domain import DROPS, SEED_COUNT
from shop.problems import Problem
from shop.reviews.domain import Review, esteem, seeded, seeded_stars, summary
from shop.reviews.store import ReviewStore
from shop.service_client import ServiceClient, segment

_LOVED_OF = 48  # who is loved most is decided among so many


class Reviews:
    """All reviews: those the first buyers left, and those written here."""

    def __init__(self, store: ReviewStore, catalog: ServiceClient, seed: int, now_us: Callable[[], int]) -> None:
        self._store = store
        self._catalog = catalog
        self._seed = seed
        self._now_us = now_us
        self._candidates: tuple[str, ...] = ()

    async def of(self, sku: str, limit: int) -> dict[str, Any]:
        """The newest reviews of a product and what all of them come to."""
        reviews = [*await self._store.of(sku), *seeded(sku, self._seed)]
        shown = [review.public() for review in reviews if review.text][:limit]
        return {**summary(review.stars for review in reviews), "items": shown}

    async def ratings(self, skus: Sequence[str]) -> dict[str, dict[str, Any]]:
        """How many reviews each of these products has, and their average."""
        written = await self._store.stars(skus)
        return {sku: summary([*written[sku], *seeded_stars(sku, self._seed)]) for sku in skus}

    async def loved(self, limit: int) -> list[str]:
        """The products that buyers like best; limited drops are left out."""
        if not self._candidates:
            skus = (f"SP-{number:05d}" for number in range(DROPS + 1, SEED_COUNT + 1))
            ranked = sorted(skus, key=lambda sku: -esteem(seeded_stars(sku, self._seed)))
            self._candidates = tuple(ranked[:_LOVED_OF])
        written = await self._store.stars(self._candidates)
        liked = {sku: esteem([*written[sku], *seeded_stars(sku, self._seed)]) for sku in self._candidates}
        return sorted(liked, key=lambda sku: -liked[sku])[:limit]

    async def write(self, sku: str, key: str, author: str, stars: int, text: str) -> None:
        """Keep a review of a product that exists, once per key."""
        await self._catalog.ask("GET", f"/api/v1/products/{segment(sku)}?fields=sku")
        on = datetime.fromtimestamp(self._now_us() / 1_000_000, UTC).date().isoformat()
        if not await self._store.add(key, Review(sku=sku, author=author, stars=stars, text=text, on=on)):
            raise Problem(409, "reviews-full", "This product has as many reviews as the shop keeps.")
