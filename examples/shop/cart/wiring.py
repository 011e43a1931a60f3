"""The carts, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.cart.api import routes
from shop.cart.service import Carts
from shop.cart.store import SCHEMA, CartStore
from shop.database import Database
from shop.hosting import hosted
from shop.neighbours import neighbour
from shop.place import Place


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The carts, asking the catalog for titles and prices."""
    async with (
        Database.opened(place.storage("cart"), SCHEMA) as database,
        neighbour(place, "catalog") as catalog,
    ):
        with hosted("cart", routes(Carts(CartStore(database), catalog, place.now_us)), database=database) as app:
            yield app
