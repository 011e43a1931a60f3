"""What inventory does: hold pieces for an order, sell them or give them back, and expire what was forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from shop.inventory.domain import RESERVATION_S, Line, ReservationGone, SoldOut, merge
from shop.inventory.store import InventoryStore
from shop.problems import Problem, not_found

_log = logging.getLogger("shop.inventory")
_SWEEP_S = 1.0


class Inventory:
    """The stock of the shop."""

    def __init__(self, store: InventoryStore, now_us: Callable[[], int]) -> None:
        self._store = store
        self._now_us = now_us

    async def free(self, skus: Sequence[str]) -> dict[str, int]:
        """The free pieces of each of these products."""
        return await self._store.free(skus)

    async def deliver(self, delivery_id: str, sku: str, pieces: int) -> None:
        """More pieces of a product, free from now on."""
        if not await self._store.deliver(delivery_id, sku, pieces):
            raise not_found("such product")

    async def sold_out(self, limit: int) -> list[str]:
        """Products without a free piece."""
        return await self._store.sold_out(limit)

    async def reserve(self, order_id: str, lines: Sequence[Line], ttl_s: float = RESERVATION_S) -> None:
        """Hold pieces for a while, all or none; a 409 problem names the product that is sold out."""
        try:
            await self._store.reserve(order_id, merge(lines), self._now_us() + int(ttl_s * 1_000_000))
        except SoldOut as missing:
            raise Problem(409, "sold-out", f"There are not enough pieces of {missing.sku}.", sku=missing.sku) from None
        except ReservationGone:
            raise _gone() from None

    async def sell(self, order_id: str) -> None:
        """Make the pieces an order holds its own for good."""
        try:
            await self._store.sell(order_id)
        except (SoldOut, ReservationGone):
            raise _gone() from None

    async def release(self, order_id: str) -> None:
        """Give back whatever an order has."""
        await self._store.release(order_id)

    async def audit(self) -> dict[str, Any]:
        """The sums of the stock ledger."""
        return await self._store.audit()

    async def expire(self) -> None:
        """Give back forgotten reservations, for as long as the service runs."""
        while True:
            try:
                expired = await self._store.release_expired(self._now_us())
                if expired:
                    _log.info("reservations expired", extra={"count": expired})
            except Problem:  # the database has told what is wrong
                _log.warning("cannot expire reservations; trying again")
            except Exception:  # noqa: BLE001 - whatever it is, the next round may do better
                _log.exception("cannot expire reservations; trying again")
            await asyncio.sleep(_SWEEP_S)


def _gone() -> Problem:
    return Problem(409, "reservation-gone", "The pieces of this order are no longer reserved.")
