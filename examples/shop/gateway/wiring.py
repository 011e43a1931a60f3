"""The gateway, put together: here stands the limit on what one client may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from sdpatterns import RateLimiter, listen, per_second
from sdpatterns.core.notices import Notice
from sdpatterns.traffic.ratelimit import LimitReached
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware
from shop.gateway.api import routes
from shop.gateway.pages import Pages, answer_in_kind
from shop.gateway.savings import savings
from shop.gateway.service import Front
from shop.hosting import hosted, nobody
from shop.neighbours import neighbour
from shop.place import Place

RATE = per_second(300, burst=600)
DEADLINE_S = 35.0
CHECKOUT_PATIENCE_S = 32.0
_BEHIND = ("catalog", "reviews", "cart", "inventory", "psp")


class Door:
    """The limiter at the door, and how often it said no."""

    def __init__(self) -> None:
        self.limiter = RateLimiter("api", RATE)
        self.refused = 0

    def __call__(self, notice: Notice) -> None:
        """Count the refusals among the notices."""
        if isinstance(notice, LimitReached) and notice.name == self.limiter.name:
            self.refused += 1

    async def view(self, client: str) -> dict[str, Any]:
        """The limiter as the control room shows it."""
        standing = await self.limiter.peek(client)
        state = {"a_second": RATE.count, "at_once": RATE.limit, "left_for_you": int(standing.remaining)}
        return {"limiter": {**state, "refused": self.refused}}


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The gateway in front of all services."""
    door = Door()
    limit = Middleware(RateLimitMiddleware, limiter=door.limiter, rates=RATE)
    async with AsyncExitStack() as stack:
        neighbours = {name: await stack.enter_async_context(neighbour(place, name)) for name in _BEHIND}
        # A checkout may queue and work for 30 s in a rush; many of them must not keep other requests from ordering.
        neighbours["ordering"] = await stack.enter_async_context(
            neighbour(place, "ordering", connections_max=128, patience_s=CHECKOUT_PATIENCE_S)
        )
        # Whoever watches the control room holds a stream open.
        neighbours["control"] = await stack.enter_async_context(neighbour(place, "control", connections_max=128))
        front = Front(neighbours)
        stack.enter_context(listen(door))
        app = hosted(
            "gateway",
            [*routes(front, door.view), *Pages(front).routes()],
            parts=("api",),
            middleware=[*savings(), limit],
            trusts=nobody,
            deadline_default_s=DEADLINE_S,
            on_error=answer_in_kind,
        )
        yield stack.enter_context(app)
