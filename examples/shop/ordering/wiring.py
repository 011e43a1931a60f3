"""Ordering, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from sdpatterns import Idempotency
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware
from shop.background import alongside
from shop.bodies import BODY_MAX_BYTES
from shop.database import Database
from shop.ordering.api import is_checkout, routes
from shop.ordering.defences import bounded_checkouts, checkout_bulkhead, checkout_once, handed_on, order_events
from shop.ordering.events import HandPublisher, OutboxPublisher, sender
from shop.ordering.service import Ordering
from shop.ordering.store import SCHEMA, OrderStore
from shop.pattern_backend import pattern_backend, pattern_tables
from shop.service_app import service_app
from shop.service_client import service_client
from shop.settings import Settings
from shop.stage.switches import Switch
from shop.stage.views import bulkhead_view, queue_view


def guarded(app: ASGIApp, once: Idempotency) -> ASGIApp:
    """The service, where a checkout needs a key; a repeated request gets the answer of the first."""
    return IdempotencyMiddleware(app, once, required=is_checkout, body_bytes_max=BODY_MAX_BYTES)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Ordering, settling what an earlier run left half done."""
    async with (
        Database.opened(settings.storage("ordering"), SCHEMA) as database,
        pattern_backend(settings.storage("ordering-keys")) as backend,
        pattern_tables(settings.storage("ordering")) as tables,
        service_client(settings, "cart") as cart,
        service_client(settings, "inventory") as inventory,
        service_client(settings, "payments") as payments,
        service_client(settings, "fulfilment") as fulfilment,
    ):
        switch, turns, once = Switch("idempotency"), checkout_bulkhead(), checkout_once(backend)
        telling, events, send = Switch("outbox"), order_events(tables), sender(fulfilment)
        in_outbox, by_hand = OutboxPublisher(events, tables), HandPublisher(events, send)
        ordering = Ordering(
            OrderStore(database, lambda: in_outbox if telling.on else by_hand),
            cart=cart,
            inventory=inventory,
            payments=payments,
            bounded=bounded_checkouts(turns),
            now_us=settings.now_us,
            alone=len(settings.replicas("ordering")) == 1,
            dedupe=lambda client_key, order_id: client_key if switch.on else order_id,
            shares_cart=lambda: not switch.on,
        )
        async with handed_on(events, send), alongside(ordering.recover()):
            with service_app(
                "ordering",
                [*routes(ordering), bulkhead_view(turns), queue_view(outbox=events.queue)],
                parts=("checkout", "checkout-keys", "orders"),
                database=database,
                middleware=[switch.middleware(lambda app: guarded(app, once))],
                switches=[switch, telling],
            ) as app:
                yield app
