"""Ordering, put together: here stand the deadline of a checkout and the guard against doing it twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from sdpatterns import Bulkhead, Idempotency, Pipeline, Timeout
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.errors import BackendError
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware
from sdpatterns.web.asgi.protocol import Scope
from shop.background import alongside
from shop.bodies import BODY_MAX_BYTES
from shop.database import Database, Storage
from shop.hosting import hosted
from shop.neighbours import neighbour
from shop.ordering.api import CHECKOUT_PATH, routes
from shop.ordering.domain import CHECKOUT_S
from shop.ordering.service import Ordering
from shop.ordering.store import SCHEMA, OrderStore
from shop.place import Place
from shop.sqlite import check_keys, url_of
from shop.switches import EitherApp, Switch

ADMITTED_MAX, QUEUE_MAX, QUEUE_S = 12, 500, 25.0
KEPT_S = 24 * 3600.0
LEASE_S = 10.0  # longer than a checkout may take; after a crash its key is free again by then
WAIT_S = 25.0
_SWEEP_S = 60.0


def protection() -> tuple[Pipeline, Bulkhead]:
    """Checkouts take their turn, and each has a limited time from then on.

    Without turns a rush makes all of them slow at once, until none is done in time.
    """
    turns = Bulkhead("checkout", concurrent_max=ADMITTED_MAX, queue_max=QUEUE_MAX, max_wait_s=QUEUE_S)
    return Pipeline(turns, Timeout(CHECKOUT_S), name="checkout"), turns


def once(backend: SQLBackend, switch: Switch) -> Middleware:
    """One key, one execution, one answer: a second press waits for the first press's answer."""
    keys = Idempotency(
        "checkout-keys",
        store=backend.states,
        signals=backend.signals,
        lease_s=LEASE_S,
        keep_s=KEPT_S,
        on_busy="wait",
        wait_max_s=WAIT_S,
    )

    def defended(app: ASGIApp) -> ASGIApp:
        return IdempotencyMiddleware(app, keys, required=_is_checkout, body_bytes_max=BODY_MAX_BYTES)

    return Middleware(EitherApp, switch=switch, defend=defended)


def dedupe(switch: Switch) -> Callable[[str, str], str]:
    """What no two live orders share: the customer's key; with the switch off, only an order's own id."""

    def key_of(client_key: str, order_id: str) -> str:
        return client_key if switch.on else order_id

    return key_of


def _is_checkout(scope: Scope) -> bool:
    return bool(scope["path"] == CHECKOUT_PATH)


@asynccontextmanager
async def _keys(storage: Storage) -> AsyncIterator[SQLBackend]:
    """The store of the idempotency keys, freed of old ones now and again."""
    if isinstance(storage, Path):
        check_keys(storage)

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            with contextlib.suppress(BackendError):
                await backend.sweep()

    async with SQLBackend(url_of(storage) if isinstance(storage, Path) else storage) as backend:
        await backend.create()
        async with alongside(sweep()):
            yield backend


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """Ordering, settling what an earlier run left half done."""
    async with (
        Database.opened(place.storage("ordering"), SCHEMA) as database,
        _keys(place.storage("ordering-keys")) as backend,
        neighbour(place, "cart") as cart,
        neighbour(place, "inventory") as inventory,
        neighbour(place, "payments") as payments,
    ):
        in_turn, turns = protection()
        switch = Switch("idempotency")
        ordering = Ordering(
            OrderStore(database),
            cart=cart,
            inventory=inventory,
            payments=payments,
            in_turn=in_turn,
            now_us=place.now_us,
            alone=len(place.replicas("ordering")) == 1,
            dedupe=dedupe(switch),
            shares_cart=lambda: not switch.on,
        )

        def defences() -> dict[str, Any]:
            return {"turns": turns.occupancy()._asdict()}

        own = routes(ordering, defences)
        parts = ("checkout", "checkout-keys")
        async with alongside(ordering.recover()):
            with hosted(
                "ordering",
                own,
                parts=parts,
                database=database,
                middleware=[once(backend, switch)],
                switches=[switch],
            ) as app:
                yield app
