"""Ordering, put together: here stand the deadline of a checkout and the guard against doing it twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from sdpatterns import Bulkhead, Pipeline, Timeout
from shop.background import alongside
from shop.database import Database
from shop.hosting import host
from shop.neighbours import neighbour
from shop.ordering.api import routes
from shop.ordering.domain import CHECKOUT_S
from shop.ordering.service import Ordering
from shop.ordering.store import SCHEMA, OrderStore
from shop.place import Place


ADMITTED_MAX, QUEUE_MAX, QUEUE_S = 24, 500, 5.0


def protection() -> Pipeline:
    """Checkouts take their turn, and each has a limited time from then on.

    Without turns a rush makes all of them slow at once, until none is done in time.
    """
    turns = Bulkhead("checkout", concurrent_max=ADMITTED_MAX, queue_max=QUEUE_MAX, max_wait_s=QUEUE_S)
    return Pipeline(turns, Timeout(CHECKOUT_S), name="checkout")


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
            in_turn=protection(),
            now_us=place.now_us,
        )
        async with alongside(ordering.recover()):
            yield host("ordering", routes(ordering), database=database)
