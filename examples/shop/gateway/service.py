"""What the gateway does for its pages and its own routes: ask the services and put the answers together."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from shop.neighbours import Neighbour, segment
from shop.problems import Problem


class Front:
    """The shop as its visitors see it; the stock is a courtesy, and its absence hides nothing else."""

    def __init__(self, neighbours: Mapping[str, Neighbour]) -> None:
        self.neighbours = neighbours

    async def products(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of products."""
        filled = {name: value for name, value in query.items() if value}
        page: dict[str, Any] = await self._get("catalog", f"/api/v1/products?{urlencode(filled)}")
        return page

    async def with_stock(self, page: dict[str, Any]) -> dict[str, Any]:
        """The same page, each product with its free pieces where they are known."""
        free = await self.free([product["sku"] for product in page["items"]])
        for product in page["items"]:
            product["available"] = free.get(product["sku"])
        return page

    async def product(self, sku: str, fields: str = "") -> dict[str, Any]:
        """A product with its free pieces."""
        query = f"?{urlencode({'fields': fields})}" if fields else ""
        product: dict[str, Any] = await self._get("catalog", f"/api/v1/products/{segment(sku)}{query}")
        if not fields:
            product["available"] = (await self.free([sku])).get(sku)
        return product

    async def free(self, skus: Sequence[str]) -> dict[str, int]:
        """The free pieces of these products; nothing when the inventory is away."""
        with contextlib.suppress(Problem):
            answer = await self._get("inventory", f"/internal/stock?skus={','.join(skus)}")
            return dict(answer["free"])
        return {}

    async def cart(self, cart_id: str) -> dict[str, Any]:
        """A cart, priced."""
        cart: dict[str, Any] = await self._get("cart", f"/api/v1/carts/{segment(cart_id)}")
        return cart

    async def put(self, cart_id: str, sku: str, quantity: int) -> None:
        """Set a line of a cart."""
        path = f"/api/v1/carts/{segment(cart_id)}/items/{segment(sku)}"
        await self.neighbours["cart"].ask("PUT", path, body={"quantity": quantity})

    async def drop(self, cart_id: str, sku: str) -> None:
        """Take a line out of a cart."""
        await self.neighbours["cart"].ask("DELETE", f"/api/v1/carts/{segment(cart_id)}/items/{segment(sku)}")

    async def check_out(self, key: str, checkout: Any) -> dict[str, Any]:
        """Buy a cart, once per key."""
        headers = {"Idempotency-Key": f'"{key}"'}
        order: dict[str, Any] = await self.neighbours["ordering"].ask(
            "POST", "/api/v1/checkout", body=checkout, headers=headers
        )
        return order

    async def order(self, order_id: str) -> dict[str, Any]:
        """An order with its history."""
        order: dict[str, Any] = await self._get("ordering", f"/api/v1/orders/{segment(order_id)}")
        return order

    async def _get(self, name: str, path: str) -> Any:
        return await self.neighbours[name].ask("GET", path)
