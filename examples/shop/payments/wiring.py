"""Payments, put together: here stands the pipeline that guards the shop against its provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.types import ASGIApp

from sdpatterns.core.policy import AsyncCall, Policy
from shop.database import Database
from shop.hosting import host
from shop.payments.api import routes
from shop.payments.provider import ProviderClient
from shop.payments.service import Payments
from shop.payments.store import SCHEMA, PaymentStore
from shop.place import Place, wall_clock_us


class _Bare(Policy):
    name = "psp"

    def wrap(self, call: AsyncCall, key: Any = None, /) -> AsyncCall:
        return call


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """Payments with its client of the provider."""
    pipeline = _Bare()
    async with (
        Database.opened(place.data_dir / "payments.sqlite3", SCHEMA) as database,
        httpx.AsyncClient(base_url=place.address("psp"), timeout=1.0) as client,
    ):
        payments = Payments(PaymentStore(database), ProviderClient(client, pipeline), wall_clock_us)
        yield host("payments", routes(payments, lambda: {"breaker": {"state": "closed"}}), database=database)
