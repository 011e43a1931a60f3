"""The catalog over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.catalog.domain import FIELDS, parse_fields, parse_page, pick
from shop.catalog.service import Catalog

SKUS_MAX = 200


def routes(catalog: Catalog) -> list[Route]:
    """The catalog's routes."""

    async def page(request: Request) -> Response:
        return JSONResponse(await catalog.page(parse_page(dict(request.query_params))))

    async def product(request: Request) -> Response:
        fields = parse_fields(request.query_params.get("fields", ""))
        return JSONResponse(pick(await catalog.product(request.path_params["sku"]), fields))

    async def several(request: Request) -> Response:
        skus = request.query_params.get("skus", "").split(",")[:SKUS_MAX]
        return JSONResponse({"items": [pick(product, FIELDS) for product in await catalog.several(skus)]})

    return [
        Route("/api/v1/products", page),
        Route("/api/v1/products/{sku}", product),
        Route("/internal/products", several),
    ]
