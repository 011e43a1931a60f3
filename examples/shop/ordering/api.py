"""Ordering over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdpatterns.web.http_sf import string_item
from shop.bodies import read_json
from shop.ordering.domain import parse_checkout
from shop.ordering.service import Ordering, summary

CHECKOUT_PATH = "/api/v1/checkout"
_PAGE_MAX = 1_000


def routes(ordering: Ordering, defences: Callable[[], dict[str, Any]]) -> list[Route]:
    """The routes of ordering."""

    async def checkout(request: Request) -> Response:
        key = string_item(request.headers.getlist("idempotency-key"))  # the middleware in front lets no other pass
        today = datetime.now(UTC)
        order = await ordering.place(key, parse_checkout(await read_json(request), (today.year, today.month)))
        return JSONResponse(summary(order), 201, {"Location": f"/api/v1/orders/{order.order_id}"})

    async def order(request: Request) -> Response:
        return JSONResponse(await ordering.show(request.path_params["order_id"]))

    async def ledger(request: Request) -> Response:
        return JSONResponse({"orders": await ordering.ledger(request.query_params.get("after", ""), _PAGE_MAX)})

    async def counts(request: Request) -> Response:
        return JSONResponse(await ordering.counts())

    async def states(request: Request) -> Response:
        return JSONResponse(defences())

    return [
        Route(CHECKOUT_PATH, checkout, methods=["POST"]),
        Route("/api/v1/orders/{order_id}", order),
        Route("/internal/ledger", ledger),
        Route("/internal/counts", counts),
        Route("/internal/defences", states),
    ]
