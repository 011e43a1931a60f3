"""Fulfilment, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.types import ASGIApp

from sdpatterns.backends.sqlalchemy.within import SQLView
from shop.database import Database
from shop.fulfilment.api import routes
from shop.fulfilment.defences import AT_ONCE, doing, few_at_carrier, few_at_sellers, follow_ups, taken_once
from shop.fulfilment.jobs import FollowUps
from shop.fulfilment.service import Fulfilment
from shop.fulfilment.signing import keys_of
from shop.fulfilment.store import SCHEMA
from shop.pattern_backend import pattern_tables
from shop.service_app import service_app
from shop.service_client import service_client
from shop.settings import Settings
from shop.stage.switches import Switch
from shop.stage.views import queue_view

_ASKED = ("mail", "carrier", "sellers", "catalog")
_PATIENCE_S = 3.0


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Fulfilment with its worker."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.opened(settings.storage("fulfilment"), SCHEMA))
        backend = await stack.enter_async_context(pattern_tables(settings.storage("fulfilment")))
        clients = {
            name: await stack.enter_async_context(
                service_client(settings, name, connections_max=AT_ONCE, patience_s=_PATIENCE_S)
            )
            for name in _ASKED
        }
        once, beside = Switch("inbox"), Switch("jobs")
        inbox, jobs = taken_once(), follow_ups(backend)

        async def is_new(message_id: str, view: SQLView) -> bool:
            return not once.on or await inbox.is_new(message_id, within=view)

        steps = FollowUps(
            jobs,
            backend,
            database,
            clients=clients,
            at_sellers=few_at_sellers(),
            at_carrier=few_at_carrier(),
            keys=keys_of(settings.seed),
            now_us=settings.now_us,
            is_new=is_new,
            beside=lambda: beside.on,
        )
        fulfilment = Fulfilment(database, backend, jobs, steps, is_new=is_new, now_us=settings.now_us)
        await stack.enter_async_context(doing(jobs))
        app = service_app(
            "fulfilment",
            [*routes(fulfilment), queue_view(jobs=jobs.queue)],
            parts=("follow-ups", "sellers at once", "carrier at once"),
            database=database,
            switches=[once, beside],
        )
        yield stack.enter_context(app)
