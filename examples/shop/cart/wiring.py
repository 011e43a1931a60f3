"""The carts, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.cart.api import routes
from shop.cart.service import Carts
from shop.cart.store import SCHEMA, CartStore
from shop.database import Database
from shop.service_app import service_app
from shop.service_client import service_client
from shop.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The carts, asking the catalog for titles and prices."""
    async with (
        Database.opened(settings.storage("cart"), SCHEMA) as database,
        service_client(settings, "catalog") as catalog,
    ):
        with service_app(
            "cart", routes(Carts(CartStore(database), catalog, settings.now_us)), database=database
        ) as app:
            yield app
