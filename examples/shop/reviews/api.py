"""Reviews over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.reviews.domain import parse_review
from shop.reviews.service import Reviews

SHOWN_MAX = 12
SKUS_MAX = 200


def routes(reviews: Reviews) -> list[Route]:
    """The routes of the reviews."""

    async def of_product(request: Request) -> Response:
        return JSONResponse(await reviews.of(request.path_params["sku"], SHOWN_MAX))

    async def write(request: Request) -> Response:
        key, author, stars, text = parse_review(await read_json(request))
        await reviews.write(request.path_params["sku"], key, author, stars, text)
        return Response(status_code=204)

    async def ratings(request: Request) -> Response:
        skus = [sku for sku in request.query_params.get("skus", "").split(",") if sku][:SKUS_MAX]
        return JSONResponse({"ratings": await reviews.ratings(skus)})

    async def loved(_request: Request) -> Response:
        return JSONResponse({"skus": await reviews.loved(SHOWN_MAX)})

    return [
        Route("/internal/reviews/{sku}", of_product),
        Route("/internal/reviews/{sku}", write, methods=["POST"]),
        Route("/internal/ratings", ratings),
        Route("/internal/loved", loved),
    ]
