"""What the control room asks a service about its defences."""

from __future__ import annotations

import dataclasses
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdpatterns import Aggregate, Bulkhead, CircuitBreaker, EventStore, Projection, Rate, RateLimiter
from sdpatterns.core.notices import Notice
from sdpatterns.ports.queue import MessageQueue
from sdpatterns.traffic.ratelimit import LimitReached
from sdpatterns.web.asgi.protocol import client_address
from shop.problems import not_found


def breaker_view(breaker: CircuitBreaker) -> Route:
    """The state of a circuit breaker."""

    async def show(_: Request) -> Response:
        seen = breaker.snapshot()
        wait_s = None if seen.retry_after_s is None else round(seen.retry_after_s, 1)
        state = {"state": seen.state.value, "calls": seen.calls, "failures": seen.failures, "next_probe_in_s": wait_s}
        return JSONResponse({"breaker": state})

    return Route("/internal/defences", show)


def bulkhead_view(turns: Bulkhead) -> Route:
    """How many calls a bulkhead runs, and how many wait."""

    async def show(_: Request) -> Response:
        return JSONResponse({"turns": turns.occupancy()._asdict()})

    return Route("/internal/defences", show)


def queue_view(**queues: MessageQueue) -> Route:
    """How much each queue holds, and for how long the first that is due has waited."""

    async def show(_: Request) -> Response:
        found = {name: (await queue.depth())._asdict() for name, queue in queues.items()}
        return JSONResponse({"queues": found})

    return Route("/internal/queues", show)


def lag_view(**projections: Projection) -> Route:
    """How many positions of its log each projection has still before it, and how many streams it has put aside."""

    async def show(_: Request) -> Response:
        found = {}
        for name, projection in projections.items():
            lag = await projection.lag()
            behind, parked = lag.positions, len(await projection.parked())
            found[name] = {"position": lag.position, "head": lag.head, "behind": behind, "parked": parked}
        return JSONResponse({"projections": found})

    return Route("/internal/projections", show)


def history_view(events: EventStore, aggregate: Aggregate[Any, Any, Any]) -> Route:
    """What was true of one thing after each of its events."""

    async def show(request: Request) -> Response:
        state, rows = aggregate.initial, []
        for stored in (await events.load(aggregate.stream(request.path_params["id"]))).events:
            state = aggregate.evolve(state, stored.event)
            then = dataclasses.asdict(state)
            rows.append({"event": type(stored.event).__name__, "at_us": stored.recorded_us, "then": then})
        if not rows:
            raise not_found("such history")
        return JSONResponse({"history": rows})

    return Route("/internal/histories/{id}", show)


class LimitsView:
    """The limits on one client, on all requests and on searches, and how many requests they refused."""

    def __init__(self, requests: RateLimiter, searches: RateLimiter, rates: tuple[Rate, Rate], counts: int) -> None:
        self._requests, self._searches = requests, searches
        self._rate, self._search_rate = rates
        self._counts = counts  # how many gateways count, each for itself
        self._refused = {requests.name: 0, searches.name: 0}

    def __call__(self, notice: Notice) -> None:
        """Count the refusals among the notices."""
        if isinstance(notice, LimitReached) and notice.name in self._refused:
            self._refused[notice.name] += 1

    def route(self) -> Route:
        """The route that shows the limits."""
        return Route("/internal/limiter", self._show)

    async def _show(self, request: Request) -> Response:
        client = client_address(request.scope)
        standing, searching = await self._requests.peek(client), await self._searches.peek(client)
        state: dict[str, Any] = {
            "counts": self._counts,
            "a_second": self._rate.count,
            "at_once": self._rate.limit,
            "left_for_you": int(standing.remaining),
            "refused": self._refused[self._requests.name],
            "searches_a_second": self._search_rate.count,
            "searches_at_once": self._search_rate.limit,
            "searches_left_for_you": int(searching.remaining),
            "searches_refused": self._refused[self._searches.name],
        }
        return JSONResponse({"limiter": state})
