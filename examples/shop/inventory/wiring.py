"""The inventory, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.background import alongside
from shop.database import Database
from shop.inventory.api import routes
from shop.inventory.domain import seed_stock
from shop.inventory.service import Inventory
from shop.inventory.store import SCHEMA, InventoryStore
from shop.service_app import service_app
from shop.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The inventory, filled at its first start, giving back expired reservations."""
    async with Database.opened(settings.storage("inventory"), SCHEMA) as database:
        store = InventoryStore(database)
        await store.receive(seed_stock(settings.seed))
        inventory = Inventory(store, settings.now_us)
        async with alongside(inventory.expire()):
            with service_app("inventory", routes(inventory), database=database) as app:
                yield app
