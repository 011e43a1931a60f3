"""The reviews, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shop.hosting import hosted
from shop.place import Place


@asynccontextmanager
async def running(_place: Place) -> AsyncIterator[ASGIApp]:
    """The reviews."""
    with hosted("reviews", []) as app:
        yield app
