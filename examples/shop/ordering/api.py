"""Ordering over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdpatterns.web.asgi.protocol import Scope
from sdpatterns.web.http_sf import string_item
from shop.bodies import read_json
from shop.ordering.domain import CANCELLED, parse_checkout
from shop.ordering.service import Ordering, summary
from shop.problems import Problem
from shop.validation import Fields, whole

CHECKOUT_PATH = "/api/v1/checkout"
_PAGE_MAX = 1_000
_KEY_CHARS_MAX = 255


def routes(ordering: Ordering) -> list[Route]:
    """The routes of ordering."""

    async def checkout(request: Request) -> Response:
        key = _key(request)
        today = datetime.now(UTC)
        order = await ordering.place(key, parse_checkout(await read_json(request), (today.year, today.month)))
        return JSONResponse(summary(order), 201, {"Location": f"/api/v1/orders/{order.order_id}"})

    async def order(request: Request) -> Response:
        return JSONResponse(await ordering.show(request.path_params["order_id"]))

    async def cancel(request: Request) -> Response:
        cancelled = await ordering.cancel(request.path_params["order_id"])
        return JSONResponse(summary(cancelled), 200 if cancelled.status == CANCELLED else 202)

    async def send_back(request: Request) -> Response:
        returned = await ordering.send_back(request.path_params["order_id"])
        return JSONResponse(summary(returned), 200 if returned.status == CANCELLED else 202)

    async def of_cart(request: Request) -> Response:
        cart = Fields(dict(request.query_params))
        cart_id = cart.slug("cart_id")
        cart.done()
        return JSONResponse({"orders": await ordering.of_cart(cart_id)})

    async def delivery(request: Request) -> Response:
        cart = Fields(dict(request.query_params))
        cart_id = cart.slug("cart_id")
        cart.done()
        return JSONResponse(await ordering.delivery(request.path_params["order_id"], cart_id))

    async def recent(_: Request) -> Response:
        return JSONResponse({"orders": await ordering.recent()})

    return [
        Route(CHECKOUT_PATH, checkout, methods=["POST"]),
        Route("/api/v1/orders/{order_id}", order),
        Route("/api/v1/orders/{order_id}/cancel", cancel, methods=["POST"]),
        Route("/api/v1/orders/{order_id}/return", send_back, methods=["POST"]),
        Route("/internal/orders", of_cart),
        Route("/internal/orders/{order_id}/delivery", delivery),
        Route("/internal/recent-orders", recent),
        *_watched(ordering),
    ]


def is_checkout(scope: Scope) -> bool:
    """Whether a request is a checkout."""
    return bool(scope["path"] == CHECKOUT_PATH)


def _watched(ordering: Ordering) -> list[Route]:
    """What the control room asks for."""

    async def ledger(request: Request) -> Response:
        after, since_us = request.query_params.get("after", ""), whole(request.query_params, "since_us")
        return JSONResponse({"orders": await ordering.ledger(after, _PAGE_MAX, since_us)})

    async def events(request: Request) -> Response:
        return JSONResponse({"events": await ordering.logged(whole(request.query_params, "after"), _PAGE_MAX)})

    async def counts(request: Request) -> Response:
        return JSONResponse(await ordering.counts())

    async def with_coupons(request: Request) -> Response:
        return JSONResponse(await ordering.with_coupons())

    return [
        Route("/internal/orders-with-coupons", with_coupons),
        Route("/internal/ledger", ledger),
        Route("/internal/order-log", events),
        Route("/internal/counts", counts),
    ]


def _key(request: Request) -> str:
    """The customer's Idempotency-Key; the middleware lets no other pass, as long as it stands in front."""
    try:
        key = string_item(request.headers.getlist("idempotency-key"))
    except ValueError:
        key = ""
    if not 1 <= len(key) <= _KEY_CHARS_MAX:
        raise Problem(400, "idempotency-key", f"Idempotency-Key must be a string of 1 to {_KEY_CHARS_MAX} characters.")
    return key
