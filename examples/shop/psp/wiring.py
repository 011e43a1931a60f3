"""The provider, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.background import alongside
from shop.database import Database
from shop.psp.api import ProviderApi
from shop.psp.service import Provider
from shop.psp.store import SCHEMA, Book
from shop.service_app import service_app, trust_none
from shop.service_client import service_client
from shop.settings import Settings
from shop.stage.faults import FaultInjector


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The provider with its own book, telling the shop's payments of what it booked."""
    async with (
        Database.opened(settings.storage("psp"), SCHEMA) as database,
        service_client(settings, "payments") as payments,
    ):
        injector = FaultInjector()
        provider = Provider(Book(database), injector, settings.now_us)

        async def notify(event_id: str, order_id: str) -> None:
            await payments.ask("POST", "/internal/psp-events", body={"event_id": event_id, "order_id": order_id})

        async with alongside(provider.tell(notify)):
            routes = ProviderApi(provider, injector).routes()
            with service_app(
                "psp", routes, database=database, trusts=trust_none, accepts_faults=False, injector=injector
            ) as app:
                yield app
