"""Where each context is put together; a process loads only the contexts that it runs."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from importlib import import_module

from starlette.types import ASGIApp

from shop.place import Place

START_ORDER = ("psp", "catalog", "reviews", "inventory", "cart", "payments", "ordering", "control", "gateway")


def running(context: str, place: Place) -> AbstractAsyncContextManager[ASGIApp]:
    """A context, put together at a place and running during the block."""
    package = "shop.stage" if context == "control" else "shop"
    wiring: AbstractAsyncContextManager[ASGIApp] = import_module(f"{package}.{context}.wiring").running(
        replace(place, context=context)
    )
    return wiring
