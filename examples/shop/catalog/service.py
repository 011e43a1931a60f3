"""What the catalog does: pages, single products, prices for a basket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shop.catalog.domain import PageRequest, Product, encode_cursor, pick, seed_products
from shop.catalog.store import CatalogStore
from shop.problems import not_found
from shop.values import is_slug


class Catalog:
    """The products of the shop."""

    def __init__(self, store: CatalogStore) -> None:
        self._store = store

    async def seed(self, seed: int) -> None:
        """Fill an empty catalog; one that has products is left alone."""
        if await self._store.count() == 0:
            await self._store.add(seed_products(seed))

    async def page(self, request: PageRequest) -> dict[str, Any]:
        """One page and the cursor of the next, or null."""
        found = await self._store.page(request)
        shown = found[: request.limit]
        following = encode_cursor(shown[-1].sku) if len(found) > request.limit else None
        return {"items": [pick(product, request.fields) for product in shown], "next": following}

    async def product(self, sku: str) -> Product:
        """A product, or a 404 problem."""
        found = await self._store.find([sku]) if is_slug(sku) else []
        if not found:
            raise not_found("such product")
        return found[0]

    async def several(self, skus: Sequence[str]) -> list[Product]:
        """The products among these skus that exist."""
        return await self._store.find(skus)
