"""Where each context is put together; a process loads only the contexts that it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import import_module

from starlette.types import ASGIApp

from shop.settings import Settings
from shop.stage.log_lines import serving

OUTSIDERS = ("mail", "carrier", "sellers")  # beside the provider, which has more to it
START_ORDER = (
    *("psp", *OUTSIDERS, "catalog", "reviews", "inventory", "cart"),
    *("payments", "fulfilment", "ordering", "control", "gateway"),
)


@asynccontextmanager
async def running(context: str, settings: Settings) -> AsyncIterator[ASGIApp]:
    """A context, wired with these settings and running during the block."""
    place = {"control": "stage.control.wiring", **{name: f"outsiders.{name}" for name in OUTSIDERS}}
    wiring: AbstractAsyncContextManager[ASGIApp] = import_module(
        f"shop.{place.get(context, f'{context}.wiring')}"
    ).running(replace(settings, context=context))
    async with AsyncExitStack() as stack:
        with serving(context):  # the tasks that it begins now write lines of this service
            app = await stack.enter_async_context(wiring)
        yield app
