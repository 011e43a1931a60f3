"""The gateway, put together: here stands the limit on what one client may ask, behind its switch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from sdpatterns import DeadlineExceeded, Fallback, Pipeline, RateLimiter, Timeout, listen, per_second
from sdpatterns.core.notices import Notice
from sdpatterns.ports.states import StateStore
from sdpatterns.traffic.ratelimit import LimitReached
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware
from shop.doors import PublicDoorMiddleware, comes_by
from shop.gateway.answers import Answers, AnswersMiddleware, is_search
from shop.gateway.api import routes
from shop.gateway.pages import REVIEWS_EACH, Pages
from shop.gateway.purchases import Purchases
from shop.gateway.rendering import InKindMiddleware, Statics, answer_in_kind
from shop.gateway.savings import savings
from shop.gateway.service import Front
from shop.hosting import hosted, nobody
from shop.neighbours import neighbour
from shop.place import Place
from shop.problems import Problem
from shop.switches import EitherApp, Switch

RATE = per_second(300, burst=600)
SEARCHES = per_second(20, burst=40)  # of one client
DEADLINE_S = 35.0
CHECKOUT_PATIENCE_S = 32.0
WATCHERS_MAX = 128
CONTROL_PATIENCE_S = 25.0
REVIEWS_S = 0.25  # a page does not wait longer for what others say
_BEHIND = ("catalog", "reviews", "cart", "inventory", "psp")


class Door:
    """The limits on one client, on everything and on what is costly, and how often they said no.

    They apply to the public port alone: the shop's own requests to a gateway count for no client.
    """

    def __init__(self, port: int | None, store: StateStore | None = None, counts: int = 1) -> None:
        self._port = port
        self.switch = Switch("limiter")
        self.limiter = RateLimiter("api", RATE, store=store)
        self.searches = RateLimiter("searches", SEARCHES, store=store)
        self.counts = counts  # how many gateways count, each for itself
        self.refused = {self.limiter.name: 0, self.searches.name: 0}

    def __call__(self, notice: Notice) -> None:
        """Count the refusals among the notices."""
        if isinstance(notice, LimitReached) and notice.name in self.refused:
            self.refused[notice.name] += 1

    def middleware(self) -> Middleware:
        """The limits around the app; with the switch off, the bare app."""
        return Middleware(EitherApp, switch=self.switch, defend=self._limited)

    def _limited(self, app: ASGIApp) -> ASGIApp:
        limited = RateLimitMiddleware(app, self.limiter, rates=RATE)
        searches = RateLimitMiddleware(app, self.searches, rates=SEARCHES)
        searches = RateLimitMiddleware(searches, self.limiter, rates=RATE)

        async def by_kind(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not comes_by(scope, self._port):
                await app(scope, receive, send)
            else:
                await (searches if is_search(scope) else limited)(scope, receive, send)

        return by_kind

    async def view(self, client: str) -> dict[str, Any]:
        """The limits as the control room shows them."""
        standing, searching = await self.limiter.peek(client), await self.searches.peek(client)
        state = {
            "counts": self.counts,
            "a_second": RATE.count,
            "at_once": RATE.limit,
            "left_for_you": int(standing.remaining),
            "refused": self.refused[self.limiter.name],
            "searches_a_second": SEARCHES.count,
            "searches_at_once": SEARCHES.limit,
            "searches_left_for_you": int(searching.remaining),
            "searches_refused": self.refused[self.searches.name],
        }
        return {"limiter": state}


async def _shared_counts(stack: AsyncExitStack, place: Place) -> StateStore | None:
    """Where all gateways of a fleet count together; without one each counts for itself."""
    if place.fleet is None:
        return None
    from sdpatterns.backends.redis import RedisBackend

    backend = await stack.enter_async_context(RedisBackend.from_url(place.fleet.valkey, timeout_s=0.5))
    return backend.states


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """The gateway in front of all services."""
    answers = Answers()
    async with AsyncExitStack() as stack:
        store = await _shared_counts(stack, place)
        port = urlsplit(place.public).port
        door = Door(port, store, counts=1 if store else len(place.replicas("gateway")))
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
        neighbours["control"] = await stack.enter_async_context(
            neighbour(place, "control", patience_s=CONTROL_PATIENCE_S)
        )
        # A page stands without the reviews: where they are away or slow, it says so.
        politely = Pipeline(Fallback(None, on=(Problem, DeadlineExceeded)), Timeout(REVIEWS_S), name="reviews")
        front = Front(neighbours, politely=politely, now_us=place.now_us)
        reviewing = RateLimiter("reviews-written", REVIEWS_EACH, store=store)
        pages = [*Pages(front, reviewing).routes(), *Purchases(front).routes(), Mount("/static", Statics())]
        stack.enter_context(listen(door))
        app = hosted(
            "gateway",
            [answers.route(), *routes(front, door.view), *pages],
            parts=("api", "searches", "reviews", "reviews-written", "streams"),
            middleware=[
                *savings(),
                Middleware(AnswersMiddleware, answers=answers),
                Middleware(InKindMiddleware),
                door.middleware(),
                Middleware(PublicDoorMiddleware, port=port),
            ],
            switches=[door.switch],
            breakable=False,
            trusts=nobody,
            own_below="/control",
            deadline_default_s=DEADLINE_S,
            on_error=answer_in_kind,
        )
        yield stack.enter_context(app)
