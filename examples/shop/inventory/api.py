"""Inventory over HTTP, for the other services only."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.inventory.domain import Line
from shop.inventory.service import Inventory

SKUS_MAX = 200


def routes(inventory: Inventory) -> list[Route]:
    """The inventory's routes."""

    async def free(request: Request) -> Response:
        skus = request.query_params.get("skus", "").split(",")[:SKUS_MAX]
        return JSONResponse({"free": await inventory.free(skus)})

    async def sold_out(_request: Request) -> Response:
        return JSONResponse({"skus": await inventory.sold_out(SKUS_MAX)})

    async def reserve(request: Request) -> Response:
        lines = [Line(item["sku"], item["quantity"]) for item in (await read_json(request))["items"]]
        await inventory.reserve(request.path_params["order_id"], lines)
        return Response(status_code=204)

    async def sell(request: Request) -> Response:
        await inventory.sell(request.path_params["order_id"])
        return Response(status_code=204)

    async def release(request: Request) -> Response:
        await inventory.release(request.path_params["order_id"])
        return Response(status_code=204)

    async def deliver(request: Request) -> Response:
        body = await read_json(request)
        await inventory.deliver(body["delivery_id"], body["sku"], body["pieces"])
        return Response(status_code=204)

    async def audit(request: Request) -> Response:
        return JSONResponse(await inventory.audit())

    return [
        Route("/internal/stock", free),
        Route("/internal/sold-out", sold_out),
        Route("/internal/audit", audit),
        Route("/internal/deliveries", deliver, methods=["POST"]),
        Route("/internal/reservations/{order_id}", reserve, methods=["PUT"]),
        Route("/internal/reservations/{order_id}", release, methods=["DELETE"]),
        Route("/internal/reservations/{order_id}/sale", sell, methods=["PUT"]),
    ]
