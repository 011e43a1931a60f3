"""Fulfilment over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_body, read_json
from shop.fulfilment.service import Fulfilment
from shop.problems import not_found
from shop.validation import Fields, is_slug, whole

_PAGE_MAX = 1_000


def routes(fulfilment: Fulfilment) -> list[Route]:
    """The routes of fulfilment."""

    async def take(request: Request) -> Response:
        await fulfilment.take(await read_body(request))
        return Response(status_code=204)

    async def followed(request: Request) -> Response:
        order_id = request.path_params["order_id"]
        if not is_slug(order_id):
            raise not_found("such order")
        return JSONResponse(await fulfilment.followed(order_id))

    async def take_in(request: Request) -> Response:
        await fulfilment.take_in(request.path_params["order_id"])
        return Response(status_code=204)

    return [
        Route("/internal/orders/{order_id}/return", take_in, methods=["POST"]),
        Route("/internal/events", take, methods=["POST"]),
        Route("/internal/orders/{order_id}/followed", followed),
        *_watched(fulfilment),
    ]


def _watched(fulfilment: Fulfilment) -> list[Route]:
    """What the control room asks for."""

    async def ledger(request: Request) -> Response:
        after, since_us = request.query_params.get("after", ""), whole(request.query_params, "since_us")
        return JSONResponse({"orders": await fulfilment.ledger(after, _PAGE_MAX, since_us)})

    async def counts(_request: Request) -> Response:
        return JSONResponse(await fulfilment.counts())

    async def letters(_request: Request) -> Response:
        return JSONResponse({"letters": await fulfilment.dead_letters()})

    async def redrive(request: Request) -> Response:
        body = await read_json(request)
        fields = Fields(body)
        ids = [fields.slug("id")] if isinstance(body, dict) and "id" in body else []
        fields.done()
        return JSONResponse({"redriven": await fulfilment.redrive(ids)})

    return [
        Route("/internal/ledger", ledger),
        Route("/internal/counts", counts),
        Route("/internal/dead-letters", letters),
        Route("/internal/dead-letters/redrive", redrive, methods=["POST"]),
    ]
