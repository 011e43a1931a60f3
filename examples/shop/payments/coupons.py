"""Using a coupon: never more often than it may be used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from sdpatterns import Lease
from sdpatterns.errors import BackendError, LeaseNotGranted, StaleFence
from shop.payments.coupon_store import CouponStore

_TRIES = 2
Use: TypeAlias = Literal["used", "spent", "busy", "undone"]


class Coupons:
    """Looks at a coupon and uses it, under a lease on its code.

    Keeps: a coupon is not used more often than it may be. The lease makes it unlikely that two do this at once; a
    holder that was stopped for longer than its lease, and has not noticed, is refused by the row.
    """

    def __init__(self, store: CouponStore, lease: Lease, may_stop: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._lease = lease
        self._may_stop = may_stop

    async def use(self, order_id: str, code: str) -> Use:
        """Use a coupon for an order; `busy` when that may succeed a little later."""
        for _ in range(_TRIES):
            try:
                held = await self._lease.wait(code, max_wait_s=self._lease.config.wait_max_s)
            except (LeaseNotGranted, BackendError):
                return "busy"
            try:
                return await self._use(order_id, code, held.fence)
            except StaleFence:
                continue  # what was looked up is old
            finally:
                await self._lease.release(held)
        return "busy"

    async def _use(self, order_id: str, code: str, fence: int) -> Use:
        if (await self._store.look(code, fence)).is_spent:
            return "spent"
        await self._may_stop()
        return "used" if await self._store.redeem(order_id, code, fence) else "undone"
