"""The gateway, put together: here stands the limit on what one client may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

from shop.gateway.api import routes
from shop.gateway.pages import Pages, answer_in_kind
from shop.gateway.service import Front
from shop.hosting import host
from shop.neighbours import neighbour
from shop.place import Place

_BEHIND = ("catalog", "cart", "inventory", "control", "psp")


def _limiter_state() -> dict[str, Any]:
    return {"limiter": {}}


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The gateway in front of all services."""
    async with AsyncExitStack() as stack:
        neighbours = {name: await stack.enter_async_context(neighbour(place, name)) for name in _BEHIND}
        # A checkout may queue and work for 10 s; many of them must not keep other requests from ordering.
        neighbours["ordering"] = await stack.enter_async_context(
            neighbour(place, "ordering", connections_max=128, patience_s=12.0)
        )
        front = Front(neighbours)
        yield host("gateway", [*routes(front, _limiter_state), *Pages(front).routes()], on_error=answer_in_kind)
