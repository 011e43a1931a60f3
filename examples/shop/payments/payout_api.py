"""The nights of payouts over HTTP, for the other services only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.payments.payout_store import PayoutStore
from shop.validation import whole

_PAGE_MAX = 1_000


def payout_routes(store: PayoutStore, view: Callable[[], Awaitable[dict[str, Any]]]) -> list[Route]:
    """The routes of the payouts."""

    async def open_night(_request: Request) -> Response:
        return JSONResponse({"night": await store.open_night()}, 202)

    async def reverse(_request: Request) -> Response:
        return JSONResponse({"reversed": await store.reverse()})

    async def payouts(request: Request) -> Response:
        return JSONResponse({"payouts": await store.ledger(whole(request.query_params, "after"), _PAGE_MAX)})

    async def audit(_request: Request) -> Response:
        return JSONResponse(await store.audit())

    async def owed(request: Request) -> Response:
        after, since_us = request.query_params.get("after", ""), whole(request.query_params, "since_us")
        return JSONResponse({"orders": await store.owed(after, _PAGE_MAX, since_us)})

    async def election(_request: Request) -> Response:
        return JSONResponse({"election": await view()})

    return [
        Route("/internal/nights", open_night, methods=["POST"]),
        Route("/internal/reversals", reverse, methods=["POST"]),
        Route("/internal/payouts", payouts),
        Route("/internal/payouts/audit", audit),
        Route("/internal/owed", owed),
        Route("/internal/election", election),
    ]
