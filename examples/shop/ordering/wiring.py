"""Ordering, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.routing import Route
from starlette.types import ASGIApp

from sdpatterns import Bulkhead, EventStore, Idempotency, Outbox, Projection
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.messaging.saga import Sagas
from sdpatterns.observability.resources import of_bulkhead, of_projection
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware
from shop.bodies import BODY_MAX_BYTES
from shop.database import Database
from shop.ordering.api import is_checkout, routes
from shop.ordering.calls import Calls
from shop.ordering.defences import (
    bounded_checkouts,
    checkout_bulkhead,
    checkout_once,
    decided_again,
    driven,
    handed_on,
    order_events,
    order_store,
    order_tables,
)
from shop.ordering.events import ORDERS, HandPublisher, OutboxPublisher, event_types, in_minor_units, sender
from shop.ordering.orders import Orders
from shop.ordering.sagas import SERVICES, order_sagas
from shop.ordering.service import Ordering
from shop.ordering.store import SCHEMA, OrderView, apply
from shop.pattern_backend import pattern_backend, pattern_tables
from shop.service_app import service_app
from shop.service_client import ServiceClient, service_client
from shop.settings import Settings
from shop.stage.effects_apart import EffectsApart, may_be_cut
from shop.stage.faults import FaultInjector
from shop.stage.first_release import SchemaBesideFirstRelease, without_upcaster
from shop.stage.no_undos import NoUndos
from shop.stage.saga_view import saga_view
from shop.stage.switches import Switch
from shop.stage.views import bulkhead_view, history_view, lag_view, queue_view


def guarded(app: ASGIApp, once: Idempotency) -> ASGIApp:
    """The service, where a checkout needs a key; a repeated request gets the answer of the first."""
    return IdempotencyMiddleware(app, once, required=is_checkout, body_bytes_max=BODY_MAX_BYTES)


async def other_services(settings: Settings, stack: AsyncExitStack) -> dict[str, ServiceClient]:
    """The services that take part in an order, by their names."""
    names = ("cart", "inventory", "payments", "fulfilment")
    return {name: await stack.enter_async_context(service_client(settings, name)) for name in names}


def _watched(sagas: Sagas, events: EventStore, projection: Projection, outbox: Outbox, turns: Bulkhead) -> list[Route]:
    """What the control room asks about sagas, events and the bulkhead."""
    views = [history_view(events, ORDERS), lag_view(orders=projection), queue_view(outbox=outbox.queue)]
    return [*saga_view(sagas, SERVICES), *views, bulkhead_view(turns)]


def _events(tables: SQLBackend, upcasting: Switch, injector: FaultInjector) -> EventStore:
    """The events of orders; those of the first release are read through the upcaster."""
    upcaster = upcasting.function(in_minor_units, without_upcaster)
    return order_store(tables, SchemaBesideFirstRelease(injector, *event_types(upcaster)))


def _projection(
    database: Database, tables: SQLBackend, events: EventStore, position: Switch, injector: FaultInjector
) -> Projection:
    """The tables of orders; how far they have read is committed with what they have read."""
    apart = EffectsApart(database, may_be_cut(apply, injector))
    return order_tables(events, apart.apply, tables, position.function(database.write, apart.transaction))


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Ordering, going on with the orders that an earlier run left half done."""
    async with (
        Database.opened(settings.storage("ordering"), SCHEMA) as database,
        pattern_backend(settings.storage("ordering-keys")) as backend,
        pattern_tables(settings.storage("ordering")) as tables,
        AsyncExitStack() as stack,
    ):
        others = await other_services(settings, stack)
        switch, turns, once = Switch("idempotency"), checkout_bulkhead(), checkout_once(backend)
        telling, outbox, send = Switch("outbox"), order_events(tables), sender(others["fulfilment"])
        undoing, upcasting, position = Switch("undo"), Switch("upcaster"), Switch("position")
        injector, calls = FaultInjector(), Calls(**others)
        events = _events(tables, upcasting, injector)
        orders = Orders(
            database,
            tables,
            events,
            publisher=telling.choice(OutboxPublisher(outbox), HandPublisher(outbox, send)),
            again=decided_again(),
            now_us=settings.now_us,
        )
        sagas = order_sagas(tables, calls, orders, undoing.choice(calls, NoUndos()))
        projection = _projection(database, tables, events, position, injector)
        ordering = Ordering(
            orders,
            sagas,
            calls=calls,
            events=events,
            view=OrderView(database),
            tables=projection,
            bounded=bounded_checkouts(turns),
            now_us=settings.now_us,
            dedupe=lambda client_key, order_id: client_key if switch.on else order_id,
            shares_cart=lambda: not switch.on,
        )
        async with handed_on(outbox, send), projection, driven(sagas.sagas):
            with service_app(
                "ordering",
                [*routes(ordering), *_watched(sagas.sagas, events, projection, outbox, turns)],
                parts=("checkout", "checkout-keys", "orders"),
                database=database,
                resources=[of_projection(projection), of_bulkhead(turns)],
                middleware=[switch.middleware(lambda app: guarded(app, once))],
                switches=[switch, telling, undoing, upcasting, position],
                injector=injector,
            ) as app:
                yield app
