"""Ordering over HTTP."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.ordering.domain import parse_checkout
from shop.ordering.service import Ordering, summary
from shop.problems import Problem

_KEY = re.compile(r'"(?:[ !#-\[\]-~]|\\["\\]){1,255}"')
_PAGE_MAX = 1_000


def routes(ordering: Ordering) -> list[Route]:
    """The routes of ordering."""

    async def checkout(request: Request) -> Response:
        key = _key(request)
        today = datetime.now(UTC)
        order = await ordering.place(key, parse_checkout(await read_json(request), (today.year, today.month)))
        return JSONResponse(summary(order), 201, {"Location": f"/api/v1/orders/{order.order_id}"})

    async def order(request: Request) -> Response:
        return JSONResponse(await ordering.show(request.path_params["order_id"]))

    async def ledger(request: Request) -> Response:
        return JSONResponse({"orders": await ordering.ledger(request.query_params.get("after", ""), _PAGE_MAX)})

    async def counts(request: Request) -> Response:
        return JSONResponse(await ordering.counts())

    return [
        Route("/api/v1/checkout", checkout, methods=["POST"]),
        Route("/api/v1/orders/{order_id}", order),
        Route("/internal/ledger", ledger),
        Route("/internal/counts", counts),
    ]


def _key(request: Request) -> str:
    """The Idempotency-Key, a structured-field string."""
    header = request.headers.get("idempotency-key", "")
    if not header:
        raise Problem(400, "idempotency-key-missing", 'A checkout needs an Idempotency-Key: "…".')
    if not _KEY.fullmatch(header):
        raise Problem(400, "idempotency-key-malformed", "The Idempotency-Key must be a quoted string.")
    return header
