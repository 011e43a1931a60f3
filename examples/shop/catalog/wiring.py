"""The catalog, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from sdpatterns.web.cursors import Cursors
from shop.catalog.api import routes
from shop.catalog.service import Catalog
from shop.catalog.store import SCHEMA, CatalogStore
from shop.database import Database
from shop.hosting import hosted
from shop.place import Place


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The catalog, seeded at its first start."""
    async with Database.opened(place.storage("catalog"), SCHEMA) as database:
        store = CatalogStore(database)
        catalog = Catalog(store, Cursors(await store.key()))
        await catalog.seed(place.seed, place.now_us())
        with hosted("catalog", routes(catalog), database=database) as app:
            yield app
