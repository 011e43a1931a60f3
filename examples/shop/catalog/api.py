"""The catalog over HTTP."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.catalog.domain import FIELDS, pick
from shop.catalog.search import parse_fields, parse_page
from shop.catalog.service import Catalog

SKUS_MAX = 200
NEXT_HEADER = "X-Next-Cursor"
"""Has the cursor of the next page, for clients that pass the body on as it is."""


def routes(catalog: Catalog) -> list[Route]:
    """The catalog's routes."""

    async def page(request: Request) -> Response:
        found = await catalog.page(parse_page(dict(request.query_params), catalog.cursors))
        following = found["next"]
        return JSONResponse(found, headers=None if following is None else {NEXT_HEADER: following})

    async def listing(request: Request) -> Response:
        wanted = parse_page(dict(request.query_params), catalog.cursors)
        without = replace(wanted.filter, without=tuple(_skus(request, "without")))
        return JSONResponse(await catalog.listing(replace(wanted, filter=without)))

    async def product(request: Request) -> Response:
        fields = parse_fields(request.query_params.get("fields", ""))
        return JSONResponse(pick(await catalog.product(request.path_params["sku"]), fields))

    async def several(request: Request) -> Response:
        items = [pick(product, FIELDS) for product in await catalog.several(_skus(request, "skus"))]
        return JSONResponse({"items": items})

    return [
        Route("/api/v1/products", page),
        Route("/api/v1/products/{sku}", product),
        Route("/internal/products", several),
        Route("/internal/listing", listing),
    ]


def _skus(request: Request, name: str) -> list[str]:
    return [sku for sku in request.query_params.get(name, "").split(",") if sku][:SKUS_MAX]
