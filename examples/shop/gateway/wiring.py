"""The gateway, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from sdpatterns import listen
from sdpatterns.ports.states import StateStore
from sdpatterns.web.asgi.protocol import Scope
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware
from shop.doors import PublicDoorMiddleware, comes_by
from shop.gateway import defences
from shop.gateway.answers import Answers, AnswersMiddleware, is_search
from shop.gateway.api import routes
from shop.gateway.defences import request_limit, review_limit, search_limit, without_reviews
from shop.gateway.pages import Pages
from shop.gateway.purchases import Purchases
from shop.gateway.rendering import InKindMiddleware, Statics, answer_in_kind
from shop.gateway.savings import savings
from shop.gateway.service import Front
from shop.hosting import hosted, nobody
from shop.neighbours import Neighbour, neighbour
from shop.place import Place
from shop.stage.switches import Switch
from shop.stage.views import LimitsView

DEADLINE_S = 35.0
CHECKOUT_PATIENCE_S = 32.0
WATCHERS_MAX = 128
CONTROL_PATIENCE_S = 25.0
_BEHIND = ("catalog", "reviews", "cart", "inventory", "psp")


async def _shared_counts(stack: AsyncExitStack, place: Place) -> StateStore | None:
    """Where all gateways of a fleet count together; without one each counts for itself."""
    if place.fleet is None:
        return None
    from sdpatterns.backends.redis import RedisBackend

    backend = await stack.enter_async_context(RedisBackend.from_url(place.fleet.valkey, timeout_s=0.5))
    return backend.states


async def _behind(stack: AsyncExitStack, place: Place) -> dict[str, Neighbour]:
    """The services behind the gateway."""
    neighbours = {name: await stack.enter_async_context(neighbour(place, name)) for name in _BEHIND}
    # A checkout may queue and work for 30 s in a rush; many of them must not keep other requests from ordering.
    neighbours["ordering"] = await stack.enter_async_context(
        neighbour(place, "ordering", connections_max=128, patience_s=CHECKOUT_PATIENCE_S)
    )
    # Each open page of the control room holds a stream: however many there are, its switches stay reachable.
    neighbours["live"] = await stack.enter_async_context(
        neighbour(place, "control", connections_max=WATCHERS_MAX, patience_s=CONTROL_PATIENCE_S)
    )
    # Control answers with its last state within seconds; on a busy machine even that comes late.
    neighbours["control"] = await stack.enter_async_context(neighbour(place, "control", patience_s=CONTROL_PATIENCE_S))
    return neighbours


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The gateway in front of all services."""
    answers = Answers()
    async with AsyncExitStack() as stack:
        store = await _shared_counts(stack, place)
        port = urlsplit(place.public).port
        requests = request_limit(store)
        searches = search_limit(store)
        switch, counts = Switch("limiter"), 1 if store else len(place.replicas("gateway"))
        view = LimitsView(requests, searches, (defences.RATE, defences.SEARCHES), counts)

        def is_own(scope: Scope) -> bool:
            """Whether a request comes from the shop itself: it counts for no client."""
            return not comes_by(scope, port)

        def is_no_search(scope: Scope) -> bool:
            return is_own(scope) or not is_search(scope)

        neighbours = await _behind(stack, place)
        front = Front(neighbours, politely=without_reviews(), now_us=place.now_us)
        pages = [*Pages(front, review_limit(store)).routes(), *Purchases(front).routes(), Mount("/static", Statics())]
        stack.enter_context(listen(view))
        app = hosted(
            "gateway",
            [answers.route(), view.route(), *routes(front), *pages],
            parts=("api", "searches", "reviews", "reviews-written", "streams"),
            middleware=[
                *savings(),
                Middleware(AnswersMiddleware, answers=answers),
                Middleware(InKindMiddleware),
                switch.middleware(lambda app: RateLimitMiddleware(app, requests, rates=defences.RATE, exempt=is_own)),
                switch.middleware(
                    lambda app: RateLimitMiddleware(app, searches, rates=defences.SEARCHES, exempt=is_no_search)
                ),
                Middleware(PublicDoorMiddleware, port=port),
            ],
            switches=[switch],
            breakable=False,
            trusts=nobody,
            own_below="/control",
            deadline_default_s=DEADLINE_S,
            on_error=answer_in_kind,
        )
        yield stack.enter_context(app)
