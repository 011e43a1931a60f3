"""What the pages tell people before and after they press."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from shop.gateway.domain import day

from .visitor import DROP, PLENTY, Visitor, new_name

pytestmark = pytest.mark.anyio

HTML = {"accept": "text/html"}
FORM = {
    "email": "ada@example.org",
    "address_name": "Ada",
    "address_line1": "1 Row",
    "address_city": "London",
    "address_postcode": "N1",
    "address_country": "gb",
    "card_number": "4242 4242 4242 4242",
    "card_expiry": "12/30",
    "card_cvc": "123",
}


def cookie(cart_id: str) -> dict[str, str]:
    return {**HTML, "cookie": f"cart={cart_id}"}


async def page(visitor: Visitor, path: str, cart_id: str = "none") -> str:
    response = await visitor.http.get(path, headers=cookie(cart_id))
    assert response.status_code == 200, response.text
    return response.text


def hidden(text: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))


async def pay(visitor: Visitor, cart_id: str, shown: dict[str, str], **changes: Any) -> httpx.Response:
    return await visitor.http.post("/checkout", data={**FORM, **shown, **changes}, headers=cookie(cart_id))


async def test_a_cart_shows_what_is_not_available_before_the_checkout(shared: Visitor) -> None:
    cart_id = await shared.fill_cart(DROP, 11)
    assert "Only 10 left" in await page(shared, "/cart", cart_id)
    await shared.http.put(f"/api/v1/carts/{cart_id}/items/{DROP}", json={"quantity": 10})
    assert "left" not in await page(shared, "/cart", cart_id)


async def test_a_product_offers_no_more_than_there_is(shared: Visitor) -> None:
    assert 'max="10"' in await page(shared, f"/products/{DROP}")


async def test_a_sold_out_product_is_named_by_its_title(shared: Visitor) -> None:
    cart_id = await shared.fill_cart(DROP, 11)
    response = await pay(shared, cart_id, hidden(await page(shared, "/checkout", cart_id)))
    title = (await shared.get(f"/api/v1/products/{DROP}"))["title"]
    assert response.status_code == 409
    assert f"There are not enough pieces of {title}." in response.text


async def test_a_cart_that_changed_meanwhile_is_not_charged(visitor: Visitor) -> None:
    cart_id = await visitor.fill_cart(PLENTY)
    shown = hidden(await page(visitor, "/checkout", cart_id))
    await visitor.http.put(f"/api/v1/carts/{cart_id}/items/{PLENTY}", json={"quantity": 2})
    refused = await pay(visitor, cart_id, shown)
    assert refused.status_code == 409
    assert "The cart has changed" in refused.text
    assert await visitor.settled() == {}

    now_shown = hidden(refused.text)
    assert now_shown["key"] == shown["key"]  # an earlier press may still be under way: it shall find itself
    assert int(now_shown["total_minor"]) == 2 * int(shown["total_minor"])
    assert (await pay(visitor, cart_id, now_shown)).status_code == 303
    assert (await pay(visitor, cart_id, now_shown)).status_code == 303  # pressed again, with the cart empty by now
    assert await visitor.settled() == {"paid": 1}


async def test_a_list_leads_on_and_back_to_its_beginning(shared: Visitor) -> None:
    first = await page(shared, "/products?q=lamp")
    assert "First page" not in first
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    later = await page(shared, following[1].replace("&amp;", "&"))
    assert '<a href="/products?q=lamp">First page</a>' in later


async def test_an_invalid_address_is_explained_in_one_line(shared: Visitor) -> None:
    response = await shared.http.get(f"/{new_name('nowhere')}", headers=HTML)
    assert response.status_code == 404
    assert "There is no such page here." in response.text


async def test_an_order_says_when_it_was_placed(shared: Visitor) -> None:
    order_id = (await shared.buy()).json()["order_id"]
    placed_at = (await shared.get(f"/api/v1/orders/{order_id}"))["placed_at"]
    assert f"{day(placed_at)}, {placed_at[11:16]} UTC" in await page(shared, f"/orders/{order_id}")
