"""The gateway, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from sdpatterns import listen
from sdpatterns.observability.resources import LoopLag
from sdpatterns.ports.states import StateStore
from sdpatterns.web.asgi.protocol import Scope
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware
from shop.access import InternalPathsMiddleware, arrived_on
from shop.gateway import defences
from shop.gateway.access_log import AccessLog, AccessLogMiddleware, is_search
from shop.gateway.api import routes
from shop.gateway.bandwidth import bandwidth_middleware
from shop.gateway.defences import request_limit, review_limit, search_limit, without_reviews
from shop.gateway.pages import Pages
from shop.gateway.purchases import Purchases
from shop.gateway.rendering import NegotiatedErrorsMiddleware, Statics, negotiated_error
from shop.gateway.service import Storefront
from shop.service_app import service_app, trust_none
from shop.service_client import ServiceClient, service_client
from shop.settings import Settings
from shop.stage.switches import Switch
from shop.stage.views import LimitsView

DEADLINE_S = 35.0
CHECKOUT_PATIENCE_S = 32.0
WATCHERS_MAX = 128
CONTROL_PATIENCE_S = 25.0
_BEHIND = ("catalog", "reviews", "cart", "inventory", "fulfilment", "psp", "mail")


async def _shared_counts(stack: AsyncExitStack, settings: Settings) -> StateStore | None:
    """Where all gateways of a fleet count together; without one each counts for itself."""
    if settings.fleet is None:
        return None
    from sdpatterns.backends.redis import RedisBackend

    backend = await stack.enter_async_context(RedisBackend.from_url(settings.fleet.valkey, timeout_s=0.5))
    return backend.states


async def _behind(stack: AsyncExitStack, settings: Settings) -> dict[str, ServiceClient]:
    """The services behind the gateway."""
    services = {name: await stack.enter_async_context(service_client(settings, name)) for name in _BEHIND}
    # A checkout may queue and work for 30 s in a rush; many of them must not keep other requests from ordering.
    services["ordering"] = await stack.enter_async_context(
        service_client(settings, "ordering", connections_max=128, patience_s=CHECKOUT_PATIENCE_S)
    )
    # Each open page of the control room holds a stream: however many there are, its switches stay reachable.
    services["live"] = await stack.enter_async_context(
        service_client(settings, "control", connections_max=WATCHERS_MAX, patience_s=CONTROL_PATIENCE_S)
    )
    # Control answers with its last state within seconds; on a busy machine even that comes late.
    services["control"] = await stack.enter_async_context(
        service_client(settings, "control", patience_s=CONTROL_PATIENCE_S)
    )
    return services


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The gateway in front of all services."""
    answers = AccessLog()
    async with AsyncExitStack() as stack:
        store = await _shared_counts(stack, settings)
        port = settings.public_port()
        requests = request_limit(store)
        searches = search_limit(store)
        switch, counts = Switch("limiter"), 1 if store else len(settings.replicas("gateway"))
        view = LimitsView(requests, searches, (defences.RATE, defences.SEARCHES), counts)

        def is_own(scope: Scope) -> bool:
            """Whether a request comes from the shop itself: it counts for no client."""
            return not arrived_on(scope, port)

        def is_no_search(scope: Scope) -> bool:
            return is_own(scope) or not is_search(scope)

        services = await _behind(stack, settings)
        storefront = Storefront(services, reviews_policy=without_reviews(), now_us=settings.now_us)
        pages = [
            *Pages(storefront, review_limit(store)).routes(),
            *Purchases(storefront).routes(),
            Mount("/static", Statics()),
        ]
        stack.enter_context(listen(view))
        lag = await stack.enter_async_context(LoopLag("gateway"))
        app = service_app(
            "gateway",
            [answers.route(), view.route(), *routes(storefront), *pages],
            parts=("api", "searches", "reviews", "reviews-written", "streams"),
            middleware=[
                *bandwidth_middleware(),
                Middleware(AccessLogMiddleware, answers=answers),
                Middleware(NegotiatedErrorsMiddleware),
                switch.middleware(lambda app: RateLimitMiddleware(app, requests, rates=defences.RATE, exempt=is_own)),
                switch.middleware(
                    lambda app: RateLimitMiddleware(app, searches, rates=defences.SEARCHES, exempt=is_no_search)
                ),
                Middleware(InternalPathsMiddleware, port=port),
            ],
            resources=[lag.reading],
            switches=[switch],
            accepts_faults=False,
            trusts=trust_none,
            check_host_below="/control",
            own_host=settings.public_host(),
            deadline_default_s=DEADLINE_S,
            on_error=negotiated_error,
        )
        yield stack.enter_context(app)
