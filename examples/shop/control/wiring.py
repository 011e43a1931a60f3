"""The control room, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.types import ASGIApp

from shop.control.api import routes
from shop.control.pages import pages
from shop.control.service import Control
from shop.hosting import hosted
from shop.neighbours import neighbour
from shop.place import Place

_WATCHED = ("gateway", "inventory", "ordering", "payments", "psp")


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The control room, reading everybody's ledgers."""
    async with AsyncExitStack() as stack:
        neighbours = {name: await stack.enter_async_context(neighbour(place, name)) for name in _WATCHED}
        control = Control(neighbours, place.now_us)
        with hosted("control", [*routes(control), *pages(control)]) as app:
            yield app
