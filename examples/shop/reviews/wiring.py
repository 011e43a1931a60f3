"""The reviews, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.database import Database
from shop.hosting import hosted
from shop.neighbours import neighbour
from shop.place import Place
from shop.reviews.api import routes
from shop.reviews.service import Reviews
from shop.reviews.store import SCHEMA, ReviewStore


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The reviews, asking the catalog whether a product exists."""
    async with (
        Database.opened(place.storage("reviews"), SCHEMA) as database,
        neighbour(place, "catalog") as catalog,
    ):
        reviews = Reviews(ReviewStore(database), catalog, place.seed, place.now_us)
        with hosted("reviews", routes(reviews), database=database) as app:
            yield app
