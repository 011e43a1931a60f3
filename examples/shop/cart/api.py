"""Carts over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.cart.domain import QUANTITY_MAX, Line, Taking
from shop.cart.service import Carts
from shop.problems import not_found
from shop.validation import Fields, is_slug


def routes(carts: Carts) -> list[Route]:
    """The cart's routes."""

    async def put(request: Request) -> Response:
        cart_id = _cart_id(request)
        fields = Fields(await read_json(request))
        quantity = fields.whole("quantity", 1, QUANTITY_MAX)
        fields.done()
        if not is_slug(request.path_params["sku"]):
            raise not_found("such product")
        return JSONResponse(await carts.put(cart_id, Line(request.path_params["sku"], quantity)))

    async def drop(request: Request) -> Response:
        return JSONResponse(await carts.drop(_cart_id(request), request.path_params["sku"]))

    async def show(request: Request) -> Response:
        return JSONResponse(await carts.show(_cart_id(request)))

    async def pieces(request: Request) -> Response:
        return JSONResponse({"pieces": await carts.pieces(_cart_id(request))})

    async def take(request: Request) -> Response:
        wanted = await read_json(request)
        lines = [Line(item["sku"], item["quantity"]) for item in wanted["items"]]
        taking = Taking(request.path_params["order_id"], wanted["cart_id"], wanted["placed_at_us"])
        await carts.take(taking, lines, shared=wanted["shared"])
        return Response(status_code=204)

    async def give_back(request: Request) -> Response:
        await carts.give_back(request.path_params["order_id"])
        return Response(status_code=204)

    async def bought(request: Request) -> Response:
        await carts.bought(request.path_params["order_id"])
        return Response(status_code=204)

    async def audit(_request: Request) -> Response:
        return JSONResponse(await carts.audit())

    return [
        Route("/api/v1/carts/{cart_id}", show),
        Route("/api/v1/carts/{cart_id}/items/{sku}", put, methods=["PUT"]),
        Route("/api/v1/carts/{cart_id}/items/{sku}", drop, methods=["DELETE"]),
        Route("/internal/carts/{cart_id}/pieces", pieces),
        Route("/internal/takings/{order_id}", take, methods=["PUT"]),
        Route("/internal/takings/{order_id}", give_back, methods=["DELETE"]),
        Route("/internal/takings/{order_id}/bought", bought, methods=["POST"]),
        Route("/internal/audit", audit),
    ]


def _cart_id(request: Request) -> str:
    cart_id: str = request.path_params["cart_id"]
    if not is_slug(cart_id):
        raise not_found("such cart")
    return cart_id
