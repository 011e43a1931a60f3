"""An outsider over HTTP; what lies below /admin is the simulation's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from shop.database import Database
from shop.outsiders.service import NoAnswer, Outsider
from shop.outsiders.store import SCHEMA, Book
from shop.problems import Problem
from shop.service_app import service_app, trust_none
from shop.settings import Settings
from shop.stage.faults import FaultInjector, fault_route, hang
from shop.validation import FieldError, InvalidInput, is_slug, whole

_PAGE_MAX = 1_000
Take: TypeAlias = Callable[[Outsider, str, Request], Awaitable[int]]
"""Reads a request, and has the outsider take what it brings under that key."""


def _routes(name: str, things: str, outsider: Outsider, take: Take) -> list[BaseRoute]:
    async def post(request: Request) -> Response:
        key = request.headers.get("idempotency-key") or request.headers.get("webhook-id", "")
        if not is_slug(key):
            raise Problem(400, "idempotency-key-missing", "This needs an Idempotency-Key.")
        try:
            return JSONResponse({"number": await take(outsider, key, request)}, 201)
        except NoAnswer:
            return await hang(request)

    async def of_order(request: Request) -> Response:
        order_id = request.query_params.get("order_id", "")
        if not is_slug(order_id):
            raise InvalidInput(FieldError("/order_id", "must be an order id"))
        return JSONResponse([entry._asdict() for entry in await outsider.of_order(order_id)])

    async def ledger(request: Request) -> Response:
        after, since_us = request.query_params.get("after", ""), whole(request.query_params, "since_us")
        return JSONResponse({"orders": await outsider.ledger(after, _PAGE_MAX, since_us)})

    async def visits(request: Request) -> Response:
        after = whole(request.query_params, "after")
        return JSONResponse({"visits": await outsider.visits(after, _PAGE_MAX)})

    return [
        Route(f"/{name}/v1/{things}", of_order, methods=["GET"]),
        Route(f"/{name}/v1/{things}", post, methods=["POST"]),
        Route(f"/{name}/v1/ledger", ledger),
        Route(f"/{name}/v1/visits", visits),
    ]


@asynccontextmanager
async def outsider_running(
    settings: Settings, name: str, things: str, take: Take, *, takes_s: float = 0.0
) -> AsyncIterator[ASGIApp]:
    """An outsider with its own books; its faults hit what it is asked to take, and not who reads the books."""
    async with Database.opened(settings.storage(name), SCHEMA) as database:
        injector = FaultInjector()
        outsider = Outsider(Book(database), injector, settings.now_us, takes_s)
        routes = [*_routes(name, things, outsider, take), fault_route(name, injector)]
        with service_app(
            name, routes, database=database, trusts=trust_none, accepts_faults=False, injector=injector
        ) as app:
            yield app
