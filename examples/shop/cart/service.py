"""What a cart does: set a line, show itself priced, forget what was bought."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from shop.cart.domain import LINES_MAX, Line, Taking, priced
from shop.cart.store import CartStore
from shop.problems import Problem
from shop.service_client import ServiceClient, segment


class Carts:
    """All carts."""

    def __init__(self, store: CartStore, catalog: ServiceClient, now_us: Callable[[], int]) -> None:
        self._store = store
        self._catalog = catalog
        self._now_us = now_us

    async def put(self, cart_id: str, line: Line) -> dict[str, Any]:
        """Set the quantity of a product that exists and may be had by now, and show the cart."""
        product = await self._catalog.ask("GET", f"/api/v1/products/{segment(line.sku)}?fields=title,opens_at")
        self._check_open(product)
        if not await self._store.put(cart_id, line):
            raise Problem(409, "cart-full", f"A cart has at most {LINES_MAX} lines.")
        return await self.show(cart_id)

    def _check_open(self, product: dict[str, Any]) -> None:
        opens_at = product["opens_at"]
        now = datetime.fromtimestamp(self._now_us() / 1_000_000, UTC)
        if opens_at is not None and now < datetime.fromisoformat(opens_at):
            detail = f"{product['title']} opens at {opens_at[11:16]} UTC."
            raise Problem(409, "not-open-yet", detail, opens_at=opens_at)

    async def pieces(self, cart_id: str) -> int:
        """How many pieces are in a cart, whatever they cost."""
        return sum(line.quantity for line in await self._store.lines(cart_id))

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

    async def take(self, taking: Taking, lines: Sequence[Line], *, shared: bool) -> None:
        """Give an order exactly these lines; a 409 problem when the cart has other ones by now."""
        if not await self._store.take(taking, lines, shared=shared):
            raise Problem(409, "cart-changed", "The cart has other lines than this order.")

    async def give_back(self, order_id: str) -> None:
        """Put an order's lines back; doing it again changes nothing."""
        await self._store.give_back(order_id)

    async def bought(self, order_id: str) -> None:
        """Note that an order is paid."""
        await self._store.bought(order_id)

    async def audit(self) -> dict[str, Any]:
        """What the book of takings says."""
        return await self._store.audit()
