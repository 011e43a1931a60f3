"""The provider, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.background import alongside
from shop.database import Database
from shop.hosting import hosted, nobody
from shop.neighbours import neighbour
from shop.place import Place
from shop.psp.api import ProviderApi
from shop.psp.service import Provider
from shop.psp.store import SCHEMA, Book
from shop.stage.faults import Moods


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The provider with its own book, telling the shop's payments of what it booked."""
    async with (
        Database.opened(place.storage("psp"), SCHEMA) as database,
        neighbour(place, "payments") as payments,
    ):
        moods = Moods()
        provider = Provider(Book(database), moods, place.now_us)

        async def notify(event_id: str, order_id: str) -> None:
            await payments.ask("POST", "/internal/psp-events", body={"event_id": event_id, "order_id": order_id})

        async with alongside(provider.tell(notify)):
            routes = ProviderApi(provider, moods).routes()
            with hosted("psp", routes, database=database, trusts=nobody, breakable=False, moods=moods) as app:
                yield app
