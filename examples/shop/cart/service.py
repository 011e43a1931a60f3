"""What a cart does: set a line, show itself priced, forget what was bought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shop.cart.domain import LINES_MAX, Line, priced
from shop.cart.store import CartStore
from shop.neighbours import Neighbour, segment
from shop.problems import Problem


class Carts:
    """All carts."""

    def __init__(self, store: CartStore, catalog: Neighbour) -> None:
        self._store = store
        self._catalog = catalog

    async def put(self, cart_id: str, line: Line) -> dict[str, Any]:
        """Set the quantity of a product that exists, and show the cart."""
        await self._catalog.ask("GET", f"/api/v1/products/{segment(line.sku)}?fields=sku")
        if not await self._store.put(cart_id, line):
            raise Problem(409, "cart-full", f"A cart has at most {LINES_MAX} lines.")
        return await self.show(cart_id)

    async def drop(self, cart_id: str, sku: str) -> dict[str, Any]:
        """Take a line out, and show the cart."""
        await self._store.drop(cart_id, sku)
        return await self.show(cart_id)

    async def show(self, cart_id: str) -> dict[str, Any]:
        """The cart with today's titles and prices."""
        lines = await self._store.lines(cart_id)
        if not lines:
            return priced(cart_id, [], {})
        answer = await self._catalog.ask("GET", f"/internal/products?skus={','.join(line.sku for line in lines)}")
        return priced(cart_id, lines, {product["sku"]: product for product in answer["items"]})

    async def bought(self, cart_id: str, lines: Sequence[Line]) -> None:
        """Forget lines that became an order."""
        await self._store.remove(cart_id, lines)
