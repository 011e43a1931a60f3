"""The control room, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.types import ASGIApp

from shop.background import alongside
from shop.hosting import hosted
from shop.neighbours import neighbour
from shop.place import Place
from shop.stage.control.api import routes
from shop.stage.control.fleet import PATIENCE_S, Fleet
from shop.stage.control.pages import pages
from shop.stage.control.service import Control
from shop.stage.control.theatre import opened
from shop.stage.whole import WholeCallClient

_READ = ("cart", "gateway", "inventory", "ordering", "payments", "psp")


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The control room, reading the ledgers and the pulse of all services."""
    async with AsyncExitStack() as stack:
        neighbours = {name: await stack.enter_async_context(neighbour(place, name)) for name in _READ}
        client = await stack.enter_async_context(WholeCallClient(timeout=PATIENCE_S))
        theatre, load = await stack.enter_async_context(opened(place.public))
        control = Control(neighbours, Fleet(place, client), place.now_us, theatre=theatre, load=load)
        stack.push_async_callback(control.aclose)
        await stack.enter_async_context(alongside(control.settle()))
        await load.turn(place.visitors)
        with hosted("control", [*routes(control), *pages(control)], breakable=False) as app:
            yield app
