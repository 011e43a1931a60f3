"""The pages: rendered here, useful without a script, asking nobody outside for anything."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from shop.bodies import read_form
from shop.catalog.domain import categories
from shop.gateway.domain import by_field, checkout_from_form, hue, money, status_words, step_words
from shop.gateway.service import Front
from shop.problems import Problem, answer, as_problem
from shop.values import is_slug

_HERE = Path(__file__).parent
_CART_COOKIE = "cart"
_FOR_PROGRAMS = ("/api/", "/psp/", "/control", "/livez", "/readyz", "/metrics")
_CHANGED = "cart-changed"
_CART_KEPT_S = 30 * 24 * 3600
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(money=money, hue=hue, status_words=status_words, step_words=step_words)
    environment.globals["categories"] = categories()
    return environment


_ENVIRONMENT = _templates()


def render(template: str, status: int = 200, **values: Any) -> Response:
    """A page."""
    text = _ENVIRONMENT.get_template(template).render(**{"query": "", **values})
    return HTMLResponse(text, status, {**SECURITY_HEADERS, "Cache-Control": "no-store"})


def answer_in_kind(request: Request, error: Exception) -> Response:
    """A refusal as a page for a browser that asked for one, else as a problem document."""
    response = answer(request, error)
    path = request.url.path
    if path.startswith(_FOR_PROGRAMS) or "text/html" not in request.headers.get("accept", ""):
        return response
    page = render("problem.html", response.status_code, problem=as_problem(error))
    if "retry-after" in response.headers:
        page.headers["Retry-After"] = response.headers["retry-after"]
    return page


class Pages:
    """All pages of the shop."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[BaseRoute]:
        """The routes of the pages."""
        return [
            Route("/", self.home),
            Route("/products", self.listing),
            Route("/products/{sku}", self.product),
            Route("/cart", self.cart),
            Route("/cart/items", self.put, methods=["POST"]),
            Route("/cart/items/{sku}/remove", self.remove, methods=["POST"]),
            Route("/checkout", self.checkout, methods=["GET", "POST"]),
            Route("/orders/{order_id}", self.order),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]

    async def home(self, request: Request) -> Response:
        """The storefront: the limited drops, then the range."""
        page = await self._front.with_stock(await self._front.products({"limit": "24"}))
        drops = [product for product in page["items"] if product["drop"]]
        rest = [product for product in page["items"] if not product["drop"]]
        return render("home.html", drops=drops[:8], products=rest[:8])

    async def listing(self, request: Request) -> Response:
        """Products by page, word and category."""
        query = {name: request.query_params.get(name, "") for name in ("q", "category", "cursor")}
        page = await self._front.with_stock(await self._front.products(query))
        later = bool(query["cursor"])
        return render("listing.html", page=page, query=query["q"], category=query["category"], later=later)

    async def product(self, request: Request) -> Response:
        """One product."""
        return render("product.html", product=await self._front.product(request.path_params["sku"]))

    async def cart(self, request: Request) -> Response:
        """The visitor's cart."""
        cart_id = _cart_id(request)
        cart = await self._front.cart(cart_id) if cart_id else {"items": [], "total_minor": 0, "currency": "EUR"}
        return render("cart.html", cart=await self._front.with_stock(cart))

    async def put(self, request: Request) -> Response:
        """Set a line of the cart, then show it."""
        form = await _own_form(request)
        cart_id = _cart_id(request) or secrets.token_urlsafe(18).replace("-", "a").replace("_", "b")
        quantity = form.get("quantity", "1").strip()
        if not (quantity.isascii() and quantity.isdigit() and len(quantity) <= 4):
            raise Problem(422, "invalid-input", "The quantity must be a whole number from 1 to 999.")
        await self._front.put(cart_id, form.get("sku", ""), int(quantity))
        response = RedirectResponse("/cart", 303)
        response.set_cookie(_CART_COOKIE, cart_id, max_age=_CART_KEPT_S, httponly=True, samesite="lax")
        return response

    async def remove(self, request: Request) -> Response:
        """Take a line out of the cart, then show it."""
        await _own_form(request)
        cart_id = _cart_id(request)
        if cart_id:
            await self._front.drop(cart_id, request.path_params["sku"])
        return RedirectResponse("/cart", 303)

    async def checkout(self, request: Request) -> Response:
        """The checkout form, and what comes of it."""
        cart_id = _cart_id(request)
        if not cart_id:
            return RedirectResponse("/cart", 303)
        cart = await self._front.cart(cart_id)
        form: dict[str, str] = {}
        problem = None
        if request.method == "POST":
            form = await _own_form(request)
            try:
                _same_total(cart, form)
                key = form.get("key", "")
                order = await self._front.check_out(key if is_slug(key) else "", checkout_from_form(form, cart_id))
                return RedirectResponse(f"/orders/{order['order_id']}", 303)
            except Problem as refusal:
                problem = refusal
        if not cart["items"] and problem is None:
            return RedirectResponse("/cart", 303)
        return self._checkout_form(cart, form, problem)

    def _checkout_form(self, cart: dict[str, Any], form: dict[str, str], problem: Problem | None) -> Response:
        values = {name: value for name, value in form.items() if not name.startswith("card_")}
        # Where it is not certain what became of the first press, only its own key can tell; after a plain
        # refusal the customer may change anything, which makes it another request with a key of its own.
        uncertain = problem is not None and (problem.status >= 500 or problem.slug in ("about:blank", _CHANGED))
        key = form["key"] if uncertain and "key" in form else secrets.token_hex(16)
        errors = by_field(problem.members.get("errors", [])) if problem else {}
        status = 200 if problem is None else problem.status
        return render("checkout.html", status, cart=cart, form=values, errors=errors, problem=problem, key=key)

    async def order(self, request: Request) -> Response:
        """An order and its history."""
        return render("order.html", order=await self._front.order(request.path_params["order_id"]))


def _same_total(cart: dict[str, Any], form: dict[str, str]) -> None:
    """Charge nobody more than the button said; an empty cart may be that of a second press."""
    if cart["items"] and form.get("total_minor") != str(cart["total_minor"]):
        raise Problem(409, _CHANGED, "The cart has changed since this page was shown. Nothing was charged.")


def _cart_id(request: Request) -> str:
    cart_id = request.cookies.get(_CART_COOKIE, "")
    return cart_id if is_slug(cart_id) else ""


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


async def _own_form(request: Request) -> dict[str, str]:
    """A form sent from one of our own pages."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin", "null")
    if site not in ("same-origin", "none") or (origin != "null" and _host(origin) != request.headers.get("host")):
        raise Problem(403, "foreign-form", "This form was not sent from a page of the shop.")
    return await read_form(request)
