"""Payments, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.database import Database
from shop.payments.api import routes
from shop.payments.defences import provider_breaker, provider_calls
from shop.payments.domain import CHARGE_BUDGET_S
from shop.payments.provider import ProviderClient
from shop.payments.service import Payments
from shop.payments.store import SCHEMA, PaymentStore
from shop.service_app import service_app
from shop.service_client import http_client
from shop.settings import Settings
from shop.stage.switches import Switch
from shop.stage.views import breaker_view


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Payments with its client of the provider."""
    async with (
        Database.opened(settings.storage("payments"), SCHEMA) as database,
        http_client(settings, "psp", connections_max=32, patience_s=CHARGE_BUDGET_S) as client,
    ):
        switch, breaker = Switch("breaker"), provider_breaker()
        provider = ProviderClient(client, provider_calls(switch.policy(breaker)))
        payments = Payments(PaymentStore(database, settings.now_us), provider, settings.now_us)
        own = [*routes(payments), breaker_view(breaker)]
        with service_app("payments", own, parts=("psp",), switches=[switch], database=database) as app:
            yield app
