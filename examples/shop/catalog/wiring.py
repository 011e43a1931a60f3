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
from shop.service_app import service_app
from shop.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The catalog, seeded at its first start."""
    async with Database.opened(settings.storage("catalog"), SCHEMA) as database:
        store = CatalogStore(database)
        catalog = Catalog(store, Cursors(await store.key()))
        await catalog.seed(settings.seed, settings.now_us())
        with service_app("catalog", routes(catalog), database=database) as app:
            yield app
