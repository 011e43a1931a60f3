"""Ordering, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from sdpatterns import Idempotency
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware
from shop.background import alongside
from shop.bodies import BODY_MAX_BYTES
from shop.cells import cells
from shop.database import Database
from shop.hosting import hosted
from shop.neighbours import neighbour
from shop.ordering.api import is_checkout, routes
from shop.ordering.defences import checkout_once, checkout_turns, in_turn
from shop.ordering.service import Ordering
from shop.ordering.store import SCHEMA, OrderStore
from shop.place import Place
from shop.stage.switches import Switch
from shop.stage.views import turns_view


def guarded(app: ASGIApp, once: Idempotency) -> ASGIApp:
    """The service, where a checkout needs a key; a repeated request gets the answer of the first."""
    return IdempotencyMiddleware(app, once, required=is_checkout, body_bytes_max=BODY_MAX_BYTES)


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """Ordering, settling what an earlier run left half done."""
    async with (
        Database.opened(place.storage("ordering"), SCHEMA) as database,
        cells(place.storage("ordering-keys")) as backend,
        neighbour(place, "cart") as cart,
        neighbour(place, "inventory") as inventory,
        neighbour(place, "payments") as payments,
    ):
        switch, turns, once = Switch("idempotency"), checkout_turns(), checkout_once(backend)
        ordering = Ordering(
            OrderStore(database),
            cart=cart,
            inventory=inventory,
            payments=payments,
            in_turn=in_turn(turns),
            now_us=place.now_us,
            alone=len(place.replicas("ordering")) == 1,
            dedupe=lambda client_key, order_id: client_key if switch.on else order_id,
            shares_cart=lambda: not switch.on,
        )
        async with alongside(ordering.recover()):
            with hosted(
                "ordering",
                [*routes(ordering), turns_view(turns)],
                parts=("checkout", "checkout-keys"),
                database=database,
                middleware=[switch.middleware(lambda app: guarded(app, once))],
                switches=[switch],
            ) as app:
                yield app
