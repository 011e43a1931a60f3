"""The pages for browsing. They work without scripts, and load nothing from other sites."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from sdpatterns import RateLimiter
from sdpatterns.web.asgi.protocol import client_address
from shop.background import together
from shop.gateway.domain import by_field
from shop.gateway.rendering import render
from shop.gateway.selection import SORTS, Selection
from shop.gateway.service import Storefront
from shop.gateway.visitor import cart_of, own_form
from shop.problems import Problem
from shop.validation import is_slug

_DROPS = "12"
_LOVED = 8
_RELATED = 5


class Pages:
    """The storefront: home, lists, products and what buyers say of them."""

    def __init__(self, storefront: Storefront, reviewing: RateLimiter) -> None:
        self._storefront = storefront
        self._reviewing = reviewing

    def routes(self) -> list[BaseRoute]:
        """The routes of the storefront."""
        return [
            Route("/", self.home),
            Route("/products", self.listing),
            Route("/products/{sku}", self.product),
            Route("/products/{sku}/reviews", self.review, methods=["POST"]),
            Route("/seller", self.seller),
            Route("/support", self.support),
        ]

    async def home(self, request: Request) -> Response:
        """The limited drops, the categories, and what buyers love."""
        return await self._shown(request, "home.html", self._home())

    async def _home(self) -> dict[str, Any]:
        storefront = self._storefront
        page, loved = await together(storefront.products({"limit": _DROPS}), storefront.loved())
        liked = await storefront.several(loved[:_LOVED])
        await storefront.dressed([*page["items"], *liked])
        drops = [product for product in page["items"] if product["drop"]]
        counts = {row["name"]: row["count"] for row in page["facets"]["category"]}
        return {
            "open_drops": [product for product in drops if not product["upcoming"]],
            "upcoming": sorted((product for product in drops if product["upcoming"]), key=_opening),
            "loved": liked,
            "counts": counts,
        }

    async def listing(self, request: Request) -> Response:
        """Products by page, word and facet."""
        selection = Selection.of(request.query_params)
        return await self._shown(request, "listing.html", self._listing(selection))

    async def _listing(self, selection: Selection) -> dict[str, Any]:
        query = selection.query()
        if selection.in_stock:
            query["without"] = ",".join(await self._storefront.sold_out())
        page = await self._storefront.products(query)
        await self._storefront.dressed(page["items"])
        facets = list(selection.facets(page["facets"]))
        return {"page": page, "selection": selection, "facets": facets, "sorts": SORTS, "query": selection.q}

    async def product(self, request: Request) -> Response:
        """One product, what buyers say of it, and others like it."""
        sku = request.path_params["sku"]
        return await self._shown(request, "product.html", self._product(sku, thanks="thanks" in request.query_params))

    async def _product(self, sku: str, **shown: Any) -> dict[str, Any]:
        product = await self._storefront.product(sku)
        alike = {"category": product["category"], "maker": product["maker"], "limit": str(_RELATED)}
        reviews, page = await together(self._storefront.reviews(sku), self._storefront.products(alike))
        related = [other for other in page["items"] if other["sku"] != sku][: _RELATED - 1]
        await self._storefront.dressed([product, *related])
        defaults: dict[str, Any] = {
            "form": {},
            "errors": {},
            "problem": None,
            "key": secrets.token_hex(16),
            "thanks": False,
        }
        return {"product": product, "reviews": reviews, "related": related, **defaults, **shown}

    async def review(self, request: Request) -> Response:
        """Say something of a product."""
        sku = request.path_params["sku"]
        form = await own_form(request)
        key = form.get("key", "")
        stars = form.get("stars", "")
        review = {
            "key": key if is_slug(key) else secrets.token_hex(16),
            "author": form.get("author", ""),
            "stars": int(stars) if stars in set("12345") else 0,
            "text": form.get("text", ""),
        }
        try:
            await self._in_share(client_address(request.scope))
            await self._storefront.review(sku, review)
        except Problem as refusal:
            if refusal.status == 404:
                raise
            errors = by_field(refusal.members.get("errors", []))
            again = self._product(sku, form=form, errors=errors, problem=refusal, key=review["key"])
            page = await self._shown(request, "product.html", again, status=refusal.status)
            page.headers.update(refusal.headers())
            return page
        return RedirectResponse(f"/products/{sku}?thanks#reviews", 303)

    async def _in_share(self, client: str) -> None:
        decision = await self._reviewing.acquire(client)
        if not decision.allowed:
            said = "You wrote many reviews in a short time. Your text is kept: send it again later."
            raise Problem(429, "too-many-reviews", said, retry_after_s=decision.retry_after_s)

    async def seller(self, request: Request) -> Response:
        """A maker's products, their prices and their stock."""
        selection = Selection.of(request.query_params)
        return await self._shown(request, "seller.html", self._seller(selection))

    async def _seller(self, selection: Selection) -> dict[str, Any]:
        if not selection.maker:
            return {"page": None, "selection": selection}
        page = await self._storefront.products({"maker": selection.maker, "cursor": selection.cursor, "limit": "50"})
        await self._storefront.dressed(page["items"])
        return {"page": page, "selection": selection}

    async def support(self, request: Request) -> Response:
        """An order and its steps, for the support staff; without one, the last few orders."""
        order_id = request.query_params.get("order_id", "").strip()
        return await self._shown(request, "support.html", self._support(order_id))

    async def _support(self, order_id: str) -> dict[str, Any]:
        order = None
        try:
            order = await self._storefront.order(order_id) if order_id else None
        except Problem as refusal:
            if refusal.status != 404:
                raise
        return {"order_id": order_id, "order": order, "recent": [] if order else await self._storefront.recent_orders()}

    async def _shown(
        self, request: Request, template: str, values: Coroutine[Any, Any, dict[str, Any]], status: int = 200
    ) -> Response:
        found, pieces = await together(values, self._storefront.pieces(cart_of(request)))
        return render(template, status, pieces=pieces, **found)


def _opening(product: dict[str, Any]) -> str:
    opens_at: str = product["opens_at"]
    return opens_at
