"""The reviews, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.database import Database
from shop.reviews.api import routes
from shop.reviews.service import Reviews
from shop.reviews.store import SCHEMA, ReviewStore
from shop.service_app import service_app
from shop.service_client import service_client
from shop.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The reviews, asking the catalog whether a product exists."""
    async with (
        Database.opened(settings.storage("reviews"), SCHEMA) as database,
        service_client(settings, "catalog") as catalog,
    ):
        reviews = Reviews(ReviewStore(database), catalog, settings.seed, settings.now_us)
        with service_app("reviews", routes(reviews), database=database) as app:
            yield app
