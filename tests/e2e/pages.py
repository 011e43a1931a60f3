"""Every page of the shop, and how a user comes to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx
import pytest
from playwright.sync_api import Page

from tests.shop.visitor import checkout_body

_HTML = {"Accept": "text/html"}
_FLOOD_MAX = 5_000  # requests, however slow the browser is
_REFUSED_WITHIN = 500  # of the browser's own, between which the others may have had a pause


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
            with _flooded(url):
                _be_refused(page, self.path)
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


def _be_refused(page: Page, path: str) -> None:
    for _ in range(_REFUSED_WITHIN):
        answer = page.goto(path)
        if answer is not None and answer.status == 429:
            return
    pytest.fail("so many searches in a flood were all answered")


@contextmanager
def _flooded(url: str) -> Iterator[None]:
    """Searches without end from the browser's own address, so that the next one is refused too."""
    full, enough = threading.Event(), threading.Event()

    def flood() -> None:
        with httpx.Client(base_url=url, timeout=120) as http:
            for _ in range(_FLOOD_MAX):
                if http.get("/products?q=zeppelin", headers=_HTML).status_code == 429:
                    full.set()
                if enough.is_set():
                    return

    floods = [threading.Thread(target=flood) for _ in range(4)]
    for thread in floods:
        thread.start()
    try:
        assert full.wait(120), "searches were never refused"
        yield
    finally:
        enough.set()
        for thread in floods:
            thread.join()
