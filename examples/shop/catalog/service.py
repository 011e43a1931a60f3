"""What the catalog does: pages, facets, single products, prices for a basket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdpatterns.web.cursors import Cursors
from shop.catalog.domain import Product, categories, makers, pick, seed_products
from shop.catalog.search import Filter, PageRequest, price_bands
from shop.catalog.store import CatalogStore
from shop.problems import not_found
from shop.validation import is_slug


class Catalog:
    """The products of the shop."""

    def __init__(self, store: CatalogStore, cursors: Cursors) -> None:
        self._store = store
        self.cursors = cursors

    async def seed(self, seed: int, now_us: int) -> None:
        """Fill an empty catalog, whose upcoming drops count from now; one that has products is left alone."""
        if await self._store.count() == 0:
            await self._store.add(seed_products(seed, opened_at_us=now_us))

    async def page(self, request: PageRequest) -> dict[str, Any]:
        """One page and the cursor of the next, or null."""
        found = await self._store.page(request)
        page = self.cursors.page(found, limit=request.limit, position=_position, of=request.of)
        return {"items": [pick(product, request.fields) for product in page.items], "next": page.next_cursor}

    async def listing(self, request: PageRequest) -> dict[str, Any]:
        """A page with how many products there are in all, and under each facet."""
        facets = await self._facets(request.filter)
        return {**await self.page(request), "total": await self._store.total(request.filter), "facets": facets}

    async def _facets(self, wanted: Filter) -> dict[str, list[dict[str, Any]]]:
        counts = await self._store.facets(wanted)
        return {
            "category": [{"name": name, "count": counts["category"].get(name, 0)} for name in categories()],
            "maker": [{"name": name, "count": counts["maker"].get(name, 0)} for name in makers()],
            "price": [
                {"price_from": low, "price_below": high, "count": counts["price"].get(high, 0)}
                for low, high in price_bands()
            ],
        }

    async def product(self, sku: str) -> Product:
        """A product, or a 404 problem."""
        found = await self._store.find([sku]) if is_slug(sku) else []
        if not found:
            raise not_found("such product")
        return found[0]

    async def several(self, skus: Sequence[str]) -> list[Product]:
        """The products among these skus that exist."""
        return await self._store.find(skus)


def _position(product: Product) -> tuple[str, int]:
    return product.sku, product.price_minor
