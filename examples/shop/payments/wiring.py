"""Payments, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.database import Database
from shop.hosting import hosted
from shop.neighbours import client_of
from shop.payments.api import routes
from shop.payments.defences import provider_breaker, provider_calls
from shop.payments.domain import CHARGE_BUDGET_S
from shop.payments.provider import ProviderClient
from shop.payments.service import Payments
from shop.payments.store import SCHEMA, PaymentStore
from shop.place import Place
from shop.stage.switches import Switch
from shop.stage.views import breaker_view


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """Payments with its client of the provider."""
    async with (
        Database.opened(place.storage("payments"), SCHEMA) as database,
        client_of(place, "psp", connections_max=32, patience_s=CHARGE_BUDGET_S) as client,
    ):
        switch, breaker = Switch("breaker"), provider_breaker()
        provider = ProviderClient(client, provider_calls(switch.policy(breaker)))
        payments = Payments(PaymentStore(database, place.now_us), provider, place.now_us)
        own = [*routes(payments), breaker_view(breaker)]
        with hosted("payments", own, parts=("psp",), switches=[switch], database=database) as app:
            yield app
