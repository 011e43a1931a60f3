"""Ordering, put together: here stand the deadline of a checkout and the guard against doing it twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

from sdpatterns.core.policy import AsyncCall, Policy
from shop.background import alongside
from shop.database import Database
from shop.hosting import host
from shop.neighbours import neighbour
from shop.ordering.api import routes
from shop.ordering.service import Ordering
from shop.ordering.store import SCHEMA, OrderStore
from shop.place import Place, wall_clock_us


class _Bare(Policy):
    name = "checkout"

    def wrap(self, call: AsyncCall, key: Any = None, /) -> AsyncCall:
        return call


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """Ordering, settling what an earlier run left half done."""
    async with (
        Database.opened(place.data_dir / "ordering.sqlite3", SCHEMA) as database,
        neighbour(place, "cart") as cart,
        neighbour(place, "inventory") as inventory,
        neighbour(place, "payments") as payments,
    ):
        ordering = Ordering(
            OrderStore(database),
            cart=cart,
            inventory=inventory,
            payments=payments,
            in_time=_Bare(),
            now_us=wall_clock_us,
        )
        async with alongside(ordering.recover()):
            yield host("ordering", routes(ordering), database=database)
