"""Payments over HTTP, for the other services only."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.payments.cards import Cards
from shop.payments.domain import SETTLED, Card, Payment
from shop.payments.service import Payments
from shop.validation import Fields, whole

_PAGE_MAX = 1_000


def routes(payments: Payments, cards: Cards) -> list[Route]:
    """The routes of payments."""

    async def keep(request: Request) -> Response:
        return JSONResponse({"token": cards.keep(Card(**(await read_json(request))["card"]))}, 201)

    async def charge(request: Request) -> Response:
        body = await read_json(request)
        found = await cards.elsewhere(body["card"], request.url.path, body)
        if found is not None:
            return JSONResponse(found)
        order_id, amount_minor, coupon = request.path_params["order_id"], body["amount_minor"], body.get("coupon", "")
        answer = await payments.charge(order_id, amount_minor, cards.find(body["card"]), body["shares"], coupon)
        if answer.outcome != "unknown":
            cards.forget(body["card"])
        return JSONResponse(answer._asdict())

    async def undo(request: Request) -> Response:
        return JSONResponse(_view(await payments.undo(request.path_params["order_id"])))

    async def settle(request: Request) -> Response:
        return JSONResponse(_view(await payments.settle(request.path_params["order_id"])))

    async def event(request: Request) -> Response:
        fields = Fields(await read_json(request))
        event_id, order_id = fields.slug("event_id"), fields.slug("order_id")
        fields.done()
        await payments.event(event_id, order_id)
        return Response(status_code=204)

    async def audit(request: Request) -> Response:
        return JSONResponse(await payments.audit())

    async def ledger(request: Request) -> Response:
        after, since_us = request.query_params.get("after", ""), whole(request.query_params, "since_us")
        return JSONResponse({"orders": await payments.ledger(after, _PAGE_MAX, since_us)})

    return [
        Route("/internal/cards", keep, methods=["POST"]),
        Route("/internal/payments/{order_id}/charge", charge, methods=["POST"]),
        Route("/internal/payments/{order_id}/undo", undo, methods=["POST"]),
        Route("/internal/payments/{order_id}/settle", settle, methods=["POST"]),
        Route("/internal/psp-events", event, methods=["POST"]),
        Route("/internal/audit", audit),
        Route("/internal/ledger", ledger),
    ]


def _view(payment: Payment) -> dict[str, Any]:
    return {"state": payment.state, "wanted": payment.wanted, "settled": payment.state in SETTLED}
