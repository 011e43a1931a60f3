"""Coupons over HTTP, for the other services only."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.payments.coupon_store import CouponStore
from shop.problems import not_found


def coupon_routes(store: CouponStore) -> list[Route]:
    """The routes of the coupons."""

    async def show(request: Request) -> Response:
        coupon = await store.find(request.path_params["code"])
        if coupon is None:
            raise not_found("such coupon")
        return JSONResponse({"off_minor": coupon.off_minor, "is_spent": coupon.is_spent})

    async def issue(request: Request) -> Response:
        body = await read_json(request)
        await store.issue(body["code"], body["uses"], body["off_minor"])
        return Response(status_code=204)

    async def audit(_request: Request) -> Response:
        return JSONResponse({"coupons": [coupon._asdict() for coupon in await store.all()]})

    return [
        Route("/internal/coupons", audit),
        Route("/internal/coupons", issue, methods=["POST"]),
        Route("/internal/coupons/{code}", show),
    ]
