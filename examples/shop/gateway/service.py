"""What the gateway does for its pages and its own routes: ask the services and put the answers together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from sdpatterns.core.policy import Policy
from shop.background import together
from shop.problems import Problem
from shop.service_client import ServiceClient, segment

_PICTURES_MAX = 100  # what the catalog answers at once


class Storefront:
    """The shop as its visitors see it.

    Keeps: stock, reviews and the number in the header are courtesies; their absence hides nothing else.
    """

    def __init__(
        self, services: Mapping[str, ServiceClient], *, reviews_policy: Policy, now_us: Callable[[], int]
    ) -> None:
        self.services = services
        self._reviews_policy = reviews_policy
        self._now_us = now_us

    async def products(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of products with its facets."""
        filled = {name: value for name, value in query.items() if value}
        page: dict[str, Any] = await self._get("catalog", f"/internal/listing?{urlencode(filled)}")
        return page

    async def several(self, skus: Sequence[str]) -> list[dict[str, Any]]:
        """The products among these skus that exist, in the order they were asked for."""
        if not skus:
            return []
        found = (await self._get("catalog", f"/internal/products?skus={','.join(skus)}"))["items"]
        return sorted(found, key=lambda product: skus.index(product["sku"]))

    async def pictured(self, items: Sequence[dict[str, Any]]) -> None:
        """Add its product to each line of carts or orders, for its picture; None where it is not known."""
        found: list[dict[str, Any]] = []
        with contextlib.suppress(Problem):
            found = await self.several(list({item["sku"] for item in items})[:_PICTURES_MAX])
        products = {product["sku"]: product for product in found}
        for item in items:
            item["product"] = products.get(item["sku"])

    async def dressed(self, products: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same products, each with its free pieces, its rating and when it opens, where that is known."""
        skus = [product["sku"] for product in products]
        free, ratings = await together(self.free(skus), self.ratings(skus))
        now = datetime.fromtimestamp(self._now_us() / 1_000_000, UTC)
        for product in products:
            product["available"] = free.get(product["sku"])
            product["rating"] = ratings.get(product["sku"])
            opens_at = product.get("opens_at")
            product["upcoming"] = opens_at is not None and now < datetime.fromisoformat(opens_at)
        return products

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

    async def sold_out(self) -> list[str]:
        """Products without a free piece; none when the inventory is away."""
        with contextlib.suppress(Problem):
            return list((await self._get("inventory", "/internal/sold-out"))["skus"])
        return []

    async def reviews(self, sku: str) -> dict[str, Any] | None:
        """What buyers said of a product; None when the reviews are away or too slow."""
        found: dict[str, Any] | None = await self._reviews_policy.call(self._get, "reviews", f"/internal/reviews/{sku}")
        return found

    async def ratings(self, skus: Sequence[str]) -> dict[str, Any]:
        """How buyers liked these products; nothing when the reviews are away or too slow."""
        found = await self._reviews_policy.call(self._get, "reviews", f"/internal/ratings?skus={','.join(skus)}")
        return found["ratings"] if found else {}

    async def loved(self) -> list[str]:
        """The products that buyers like best; none when the reviews are away or too slow."""
        found = await self._reviews_policy.call(self._get, "reviews", "/internal/loved")
        return found["skus"] if found else []

    async def review(self, sku: str, review: Mapping[str, Any]) -> None:
        """Say something of a product, once per key."""
        await self.services["reviews"].ask("POST", f"/internal/reviews/{segment(sku)}", body=dict(review))

    async def cart(self, cart_id: str) -> dict[str, Any]:
        """A cart, priced."""
        cart: dict[str, Any] = await self._get("cart", f"/api/v1/carts/{segment(cart_id)}")
        return cart

    async def pieces(self, cart_id: str) -> int | None:
        """How many pieces are in a cart; None without a cart, or when the cart service is away."""
        with contextlib.suppress(Problem):
            if cart_id:
                return int((await self._get("cart", f"/internal/carts/{cart_id}/pieces"))["pieces"])
        return None

    async def put(self, cart_id: str, sku: str, quantity: int) -> None:
        """Set a line of a cart."""
        path = f"/api/v1/carts/{segment(cart_id)}/items/{segment(sku)}"
        await self.services["cart"].ask("PUT", path, body={"quantity": quantity})

    async def drop(self, cart_id: str, sku: str) -> None:
        """Take a line out of a cart."""
        await self.services["cart"].ask("DELETE", f"/api/v1/carts/{segment(cart_id)}/items/{segment(sku)}")

    async def check_out(self, key: str, checkout: Any) -> dict[str, Any]:
        """Buy a cart, once per key."""
        headers = {"Idempotency-Key": f'"{key}"'}
        order: dict[str, Any] = await self.services["ordering"].ask(
            "POST", "/api/v1/checkout", body=checkout, headers=headers
        )
        return order

    async def order(self, order_id: str) -> dict[str, Any]:
        """An order with its history."""
        order: dict[str, Any] = await self._get("ordering", f"/api/v1/orders/{segment(order_id)}")
        return order

    async def orders(self, cart_id: str) -> list[dict[str, Any]]:
        """The orders of a visitor, the newest first."""
        if not cart_id:
            return []
        return list((await self._get("ordering", f"/internal/orders?cart_id={cart_id}"))["orders"])

    async def delivery(self, order_id: str, cart_id: str) -> dict[str, Any] | None:
        """Where an order goes, for the browser that ordered it; None for others."""
        if not cart_id:
            return None
        with contextlib.suppress(Problem):
            found: dict[str, Any] = await self._get(
                "ordering", f"/internal/orders/{segment(order_id)}/delivery?cart_id={cart_id}"
            )
            return found
        return None

    async def followed(self, order_id: str) -> dict[str, Any]:
        """What followed an order so far: the mail, the invoice, the parcel; nothing when fulfilment is away."""
        with contextlib.suppress(Problem):
            return dict(await self._get("fulfilment", f"/internal/orders/{segment(order_id)}/followed"))
        return {}

    async def recent_orders(self) -> list[dict[str, Any]]:
        """The last few orders of all customers, newest first; none when ordering is away."""
        with contextlib.suppress(Problem):
            return list((await self._get("ordering", "/internal/recent-orders"))["orders"])
        return []

    async def cancel(self, order_id: str) -> None:
        """Take an order back."""
        await self.services["ordering"].ask("POST", f"/api/v1/orders/{segment(order_id)}/cancel")

    async def send_back(self, order_id: str) -> None:
        """Return an order whose parcel was sent."""
        await self.services["ordering"].ask("POST", f"/api/v1/orders/{segment(order_id)}/return")

    async def _get(self, name: str, path: str) -> Any:
        return await self.services[name].ask("GET", path)
