"""The second version of the product API: a price is one thing, not two fields that can be told apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import httpx2
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdpatterns.web.asgi.versions import VersionsMiddleware, version_of
from sdpatterns.web.fields import Fields
from sdpatterns.web.links import Link, link_header, with_parameters
from sdpatterns.web.versions import ByHeader, Version
from shop.catalog.api import NEXT_HEADER
from shop.catalog.domain import FIELDS
from shop.gateway.service import Storefront
from shop.validation import FieldError, InvalidInput

VERSIONS = (Version(name="1"), Version(name="2"))
_PRICE = ("price_minor", "currency")
FIELDS_2 = tuple(name for name in FIELDS if name not in _PRICE)
_KNOWN = Fields.parse(f"{','.join(FIELDS_2)},available,price(amount_minor,currency)")

Endpoint = Callable[[Request], Awaitable[Response]]


def second_form(product: dict[str, Any]) -> dict[str, Any]:
    """A product as version 2 shows it, from what version 1 shows."""
    shown = {name: value for name, value in product.items() if name not in _PRICE}
    return {**shown, "price": {"amount_minor": product["price_minor"], "currency": product["currency"]}}


def second_fields(text: str) -> Fields:
    """The wanted fields of version 2, as deep as they are named; all where none is."""
    try:
        return Fields.parse(text, known=_KNOWN) if text else _KNOWN
    except ValueError:
        raise InvalidInput(FieldError("/fields", "must name fields of a product: sku,price(amount_minor)")) from None


def routes(storefront: Storefront) -> list[Route]:
    """The products in both versions; at /api/products the header Accept-Version decides, else it is the first."""
    chosen = [Middleware(VersionsMiddleware, VERSIONS, name="products", by=ByHeader(default=VERSIONS[0].name))]
    several, one = _several(storefront), _one(storefront)
    return [
        Route("/api/v1/products", several["1"]),
        Route("/api/v1/products/{sku}", one["1"]),
        Route("/api/v2/products", several["2"]),
        Route("/api/v2/products/{sku}", one["2"]),
        Route("/api/products", _by_header(several), middleware=chosen),
        Route("/api/products/{sku}", _by_header(one), middleware=chosen),
    ]


def _by_header(endpoints: dict[str, Endpoint]) -> Endpoint:
    async def handler(request: Request) -> Response:
        return await endpoints[version_of(request.scope)](request)

    return handler


def _several(storefront: Storefront) -> dict[str, Endpoint]:
    async def page(query: dict[str, str]) -> httpx2.Response:
        """A page as the catalog's own API shows it; the storefront's listing has more to it."""
        return await storefront.services["catalog"].answered("GET", f"/api/v1/products?{urlencode(query)}")

    async def first(request: Request) -> Response:
        answer = await page(dict(request.query_params))
        links = _links(request, answer.headers.get(NEXT_HEADER))
        return Response(answer.content, headers=links, media_type="application/json")

    async def second(request: Request) -> Response:
        query = dict(request.query_params)
        fields = second_fields(query.pop("fields", ""))
        found = (await page(query)).json()
        items = [fields.of(second_form(product)) for product in found["items"]]
        return JSONResponse({"items": items, "next": found["next"]}, headers=_links(request, found["next"]))

    return {"1": first, "2": second}


def _one(storefront: Storefront) -> dict[str, Endpoint]:
    async def first(request: Request) -> Response:
        fields = request.query_params.get("fields", "")
        return JSONResponse(await storefront.product(request.path_params["sku"], fields))

    async def second(request: Request) -> Response:
        fields = second_fields(request.query_params.get("fields", ""))
        return JSONResponse(fields.of(second_form(await storefront.product(request.path_params["sku"]))))

    return {"1": first, "2": second}


def _links(request: Request, following: str | None) -> dict[str, str]:
    """The next page and the first one, for clients that do not read the body (RFC 8288)."""
    query = request.scope["query_string"].decode("latin-1")
    here = f"{request.scope['path']}?{query}"
    links = [Link(with_parameters(here, cursor=None), "first")]
    if following is not None:
        links.append(Link(with_parameters(here, cursor=following), "next"))
    return {"Link": link_header(links)}
