"""Where each context is put together; a process loads only the contexts that it runs."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from importlib import import_module

from starlette.types import ASGIApp

from shop.settings import Settings

START_ORDER = ("psp", "catalog", "reviews", "inventory", "cart", "payments", "ordering", "control", "gateway")


def running(context: str, settings: Settings) -> AbstractAsyncContextManager[ASGIApp]:
    """A context, wired with these settings and running during the block."""
    package = "shop.stage" if context == "control" else "shop"
    wiring: AbstractAsyncContextManager[ASGIApp] = import_module(f"{package}.{context}.wiring").running(
        replace(settings, context=context)
    )
    return wiring
