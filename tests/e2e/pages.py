"""Every page of the shop, and how a user comes to it."""

from __future__ import annotations

from contextlib import ExitStack
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page

from tests.shop.visitor import checkout_body

_AT_ONCE = 150  # searches: far more than a client may send in a moment
_TRIES_MAX = 20


class Customer(NamedTuple):
    """A user with an order in the past and a cart that is not empty."""

    cart_id: str
    order_id: str

    @classmethod
    def of(cls, url: str, name: str = "customer") -> Customer:
        with httpx.Client(base_url=url, timeout=120) as http:
            items = f"/api/v1/carts/{name}/items"
            http.put(f"{items}/SP-00040", json={"quantity": 2}).raise_for_status()
            key = {"Idempotency-Key": f'"{name}"'}
            order = http.post("/api/v1/checkout", json=checkout_body(name), headers=key).raise_for_status().json()
            for sku in ("SP-00041", "SP-00042"):
                http.put(f"{items}/{sku}", json={"quantity": 1}).raise_for_status()
            while http.get("/control/api/state").raise_for_status().json()["age_s"] is None:
                pass  # before the first look the control room has less to show, and on a slow machine its page jumps
        return cls(name, order["order_id"])

    def remembered_by(self, page: Page, url: str) -> None:
        page.context.add_cookies([{"name": "cart", "value": self.cart_id, "url": url}])


class Stop(NamedTuple):
    """A page: its path, where a path is all it takes, and how many refusals the browser tells of it."""

    name: str
    path: str
    refused: int = 0

    def open(self, page: Page, url: str, customer: Customer) -> None:
        if self.name == "checkout, refused":
            _pay_wrongly(page)
        elif self.name == "too many":
            _be_refused(page, url, self.path, customer)
        else:
            page.goto(self.at(customer))

    def at(self, customer: Customer) -> str:
        return self.path.format(order_id=customer.order_id)


STOPS = [
    Stop("home", "/"),
    Stop("listing", "/products?q=lamp&maker=Vdara"),
    Stop("listing, empty", "/products?q=zeppelin"),
    Stop("product", "/products/SP-00040"),
    Stop("product, soon", "/products/SP-00009"),
    Stop("cart", "/cart"),
    Stop("checkout", "/checkout"),
    Stop("checkout, refused", "/checkout", refused=1),
    Stop("order", "/orders/{order_id}"),
    Stop("history", "/orders"),
    Stop("seller", "/seller?maker=Vdara"),
    Stop("support", "/support?order_id={order_id}"),
    Stop("not found", "/nowhere", refused=1),
    Stop("too many", "/products?q=lamp", refused=1),
    Stop("control room", "/control"),
]


def _pay_wrongly(page: Page) -> None:
    page.goto("/checkout")
    page.evaluate("document.querySelector('form.checkout').noValidate = true")
    page.get_by_role("button", name="Pay").click()
    page.get_by_role("alert").wait_for()


def _be_refused(page: Page, url: str, path: str, customer: Customer) -> None:
    """Open the page as the shop sends it to a client over its limit: sent once, and kept for the browser."""
    headers, body = _refusal(url, path, {"Accept": "text/html", "Cookie": f"cart={customer.cart_id}"})
    page.route(f"{url}{path}", lambda route: route.fulfill(status=429, headers=headers, body=body))
    page.goto(path)


def _refusal(url: str, path: str, headers: dict[str, str]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a 429; enough searches are sent before one is read that a slow machine refuses some too."""
    for _ in range(_TRIES_MAX):
        with ExitStack() as stack:
            connections = [HTTPConnection(urlsplit(url).netloc, timeout=120) for _ in range(_AT_ONCE)]
            for connection in connections:
                stack.callback(connection.close)
                connection.request("GET", path, headers=headers)
            for connection in connections:
                answer = connection.getresponse()
                stack.callback(answer.close)
                if answer.status == 429:
                    return dict(answer.getheaders()), answer.read()
    pytest.fail("so many searches at once were all answered")
