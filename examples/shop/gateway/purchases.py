"""The pages one buys on: the cart, the checkout, the orders."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from shop.background import together
from shop.gateway.domain import by_field, checkout_from_form, follow_ups, way
from shop.gateway.rendering import render
from shop.gateway.service import Storefront
from shop.gateway.visitor import cart_of, new_cart, own_form, remember
from shop.problems import Problem
from shop.validation import is_slug

_CHANGED = "cart-changed"
_IN_FLIGHT = ("pending", "undoing")
_NEVER_SHOWN_AGAIN = ("card_number", "card_cvc")
COUNTRIES = {
    "AT": "Austria",
    "BE": "Belgium",
    "CH": "Switzerland",
    "CZ": "Czechia",
    "DE": "Germany",
    "DK": "Denmark",
    "ES": "Spain",
    "FI": "Finland",
    "FR": "France",
    "GB": "United Kingdom",
    "IE": "Ireland",
    "IT": "Italy",
    "NL": "Netherlands",
    "NO": "Norway",
    "PL": "Poland",
    "PT": "Portugal",
    "SE": "Sweden",
    "US": "United States",
}


class Purchases:
    """From the cart to the order, its cancellation and its return."""

    def __init__(self, storefront: Storefront) -> None:
        self._storefront = storefront

    def routes(self) -> list[BaseRoute]:
        """The routes of buying."""
        return [
            Route("/cart", self.cart),
            Route("/cart/items", self.put, methods=["POST"]),
            Route("/cart/items/{sku}/remove", self.remove, methods=["POST"]),
            Route("/checkout", self.checkout, methods=["GET", "POST"]),
            Route("/orders", self.orders),
            Route("/orders/{order_id}", self.order),
            Route("/orders/{order_id}/cancel", self.cancel, methods=["POST"]),
            Route("/orders/{order_id}/return", self.send_back, methods=["POST"]),
        ]

    async def cart(self, request: Request) -> Response:
        """The visitor's cart."""
        cart_id = cart_of(request)
        cart: dict[str, Any] = {"items": [], "total_minor": 0, "currency": "EUR"}
        if cart_id:
            cart = await self._storefront.cart(cart_id)
        free, _ = await together(
            self._storefront.free([item["sku"] for item in cart["items"]]), self._storefront.pictured(cart["items"])
        )
        for item in cart["items"]:
            item["available"] = free.get(item["sku"])
        return render("cart.html", cart=cart, pieces=_pieces(cart))

    async def put(self, request: Request) -> Response:
        """Set a line of the cart, then show it."""
        form = await own_form(request)
        cart_id = cart_of(request) or new_cart()
        quantity = form.get("quantity", "1").strip()
        if not (quantity.isascii() and quantity.isdigit() and len(quantity) <= 4):
            raise Problem(422, "invalid-input", "The quantity must be a whole number from 1 to 999.")
        await self._storefront.put(cart_id, form.get("sku", ""), int(quantity))
        response = RedirectResponse("/cart", 303)
        remember(response, cart_id)
        return response

    async def remove(self, request: Request) -> Response:
        """Take a line out of the cart, then show it."""
        await own_form(request)
        cart_id = cart_of(request)
        if cart_id:
            await self._storefront.drop(cart_id, request.path_params["sku"])
        return RedirectResponse("/cart", 303)

    async def checkout(self, request: Request) -> Response:
        """The checkout form, and what comes of it."""
        cart_id = cart_of(request)
        if not cart_id:
            return RedirectResponse("/cart", 303)
        cart = await self._storefront.cart(cart_id)
        form: dict[str, str] = {}
        problem = None
        if request.method == "POST":
            form = await own_form(request)
            try:
                _same_total(cart, form)
                key = form.get("key", "")
                order = await self._storefront.check_out(key if is_slug(key) else "", checkout_from_form(form, cart_id))
                return RedirectResponse(f"/orders/{order['order_id']}", 303)
            except Problem as refusal:
                problem = refusal
        if not cart["items"] and problem is None:
            return RedirectResponse("/cart", 303)
        await self._storefront.pictured(cart["items"])
        return _checkout_form(cart, form, problem)

    async def orders(self, request: Request) -> Response:
        """The visitor's orders, the newest first."""
        cart_id = cart_of(request)
        orders, pieces = await together(self._storefront.orders(cart_id), self._storefront.pieces(cart_id))
        await self._storefront.pictured([item for order in orders for item in order["items"]])
        return render("orders.html", orders=orders, pieces=pieces)

    async def order(self, request: Request) -> Response:
        """An order and its status; the address only for the browser that ordered."""
        order_id, cart_id = request.path_params["order_id"], cart_of(request)
        order, delivery, pieces, followed = await together(
            self._storefront.order(order_id),
            self._storefront.delivery(order_id, cart_id),
            self._storefront.pieces(cart_id),
            self._storefront.followed(order_id),
        )
        await self._storefront.pictured(order["items"])
        after = follow_ups(followed) if order["status"] == "paid" else []
        shown = {"order": order, "delivery": delivery, "countries": COUNTRIES, "way": [*way(order["history"]), *after]}
        shown["is_sent"] = bool(followed.get("shipment"))
        changing = order["status"] in _IN_FLIGHT or any(stop.state == "now" for stop in after)
        return render("order.html", changing=changing, pieces=pieces, **shown)

    async def cancel(self, request: Request) -> Response:
        """Take an order back, then show it."""
        await own_form(request)
        order_id = request.path_params["order_id"]
        await self._storefront.cancel(order_id)
        return RedirectResponse(f"/orders/{order_id}", 303)

    async def send_back(self, request: Request) -> Response:
        """Return an order that was sent, then show it."""
        await own_form(request)
        order_id = request.path_params["order_id"]
        await self._storefront.send_back(order_id)
        return RedirectResponse(f"/orders/{order_id}", 303)


def _checkout_form(cart: dict[str, Any], form: dict[str, str], problem: Problem | None) -> Response:
    values = {name: value for name, value in form.items() if name not in _NEVER_SHOWN_AGAIN}
    # Where it is not certain what became of the first press, only its own key can tell; after a plain
    # refusal the customer may change anything, which makes it another request with a key of its own.
    uncertain = problem is not None and (problem.status >= 500 or problem.slug in ("about:blank", _CHANGED))
    key = form["key"] if uncertain and "key" in form else secrets.token_hex(16)
    errors = by_field(problem.members.get("errors", [])) if problem else {}
    shown = {"cart": cart, "form": values, "errors": errors, "problem": problem, "key": key, "countries": COUNTRIES}
    return render("checkout.html", 200 if problem is None else problem.status, pieces=_pieces(cart), **shown)


def _pieces(cart: dict[str, Any]) -> int:
    return sum(item["quantity"] for item in cart["items"])


def _same_total(cart: dict[str, Any], form: dict[str, str]) -> None:
    """Never charge more than the button said; an empty cart may be that of a second click."""
    if cart["items"] and form.get("total_minor") != str(cart["total_minor"]):
        raise Problem(409, _CHANGED, "The cart has changed since this page was shown. Nothing was charged.")
