"""The control room, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.types import ASGIApp

from sdpatterns.web.httpx2 import AsyncPool
from shop.background import alongside
from shop.plain_http import no_authority
from shop.service_app import service_app
from shop.service_client import service_client
from shop.settings import Settings
from shop.stage.control.api import routes
from shop.stage.control.game_days import GameDays
from shop.stage.control.pages import pages
from shop.stage.control.replicas import PATIENCE_S, Replicas
from shop.stage.control.rollouts import Rollouts
from shop.stage.control.scenario_runner import opened
from shop.stage.control.service import Control
from shop.stage.total_timeout import TotalTimeoutClient

_READ = (
    *("cart", "gateway", "inventory", "ordering", "payments", "fulfilment"),
    *("psp", "mail", "carrier", "sellers"),
)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The control room, reading the ledgers and the pulse of all services."""
    async with AsyncExitStack() as stack:
        services = {name: await stack.enter_async_context(service_client(settings, name)) for name in _READ}
        client = await stack.enter_async_context(
            TotalTimeoutClient(transport=AsyncPool(verify=no_authority()), timeout=PATIENCE_S)
        )
        scenarios, load = await stack.enter_async_context(opened(settings.visitors_come_to()))
        replicas = Replicas(settings, client)
        rollouts = Rollouts(replicas, settings)
        game_days = GameDays(settings.visitors_come_to(), lambda: scenarios.is_playing)
        stack.push_async_callback(game_days.stop)
        control = Control(
            services,
            replicas,
            settings.now_us,
            scenarios=scenarios,
            load=load,
            rollouts=rollouts,
            game_days=game_days,
        )
        stack.push_async_callback(control.aclose)
        rollouts.settle()
        await stack.enter_async_context(alongside(control.reconcile()))
        await load.set_visitors(settings.visitors)
        with service_app(
            "control", [*routes(control), *pages(control)], accepts_faults=False, own_host=settings.public_host()
        ) as app:
            yield app
