"""Looking around: lists and their facets, drops that open later, reviews that may be away, orders of a visitor."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from shop.catalog.domain import OPENS_AFTER_MIN, categories, makers, nouns, seed_products
from shop.catalog.search import wanted_words
from shop.gateway.domain import checkout_from_form, day, way
from shop.gateway.pictures import picture
from shop.gateway.selection import Selection, price_words
from shop.reviews.domain import seeded, seeded_stars, summary

from .test_pages import HTML, cookie, hidden, page, pay
from .visitor import PATIENCE_S, PLENTY, Visitor, checkout_body, new_name

pytestmark = pytest.mark.anyio
UPCOMING = "SP-00009"


async def listed(visitor: Visitor, query: str) -> list[dict[str, Any]]:
    """All products of a list, page after page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = await visitor.get(f"/api/v1/products?limit=100&{query}&cursor={cursor}")
        found += answer["items"]
        cursor = answer["next"]
        if cursor is None:
            return found


async def catalog(visitor: Visitor, query: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=visitor.settings.address("catalog")) as http:
        answer: dict[str, Any] = (await http.get(f"/internal/listing?{query}")).raise_for_status().json()
        return answer


async def test_a_word_is_found_by_its_beginning_and_in_the_plural(shared: Visitor) -> None:
    lamps, plural, begun = [await listed(shared, f"q={word}") for word in ("lamp", "LAMPS", "lam")]
    assert lamps == plural == begun
    assert all("Lamp" in product["title"] for product in lamps)
    assert await listed(shared, "q=amp") == []  # no word begins so
    assert await listed(shared, "q=!!!") == []
    assert [product["sku"] for product in await listed(shared, "q=sp-00040")] == ["SP-00040"]
    assert wanted_words("Thé  glass") == ("the", "glas")


@pytest.mark.parametrize(("sort", "sign"), [("price", 1), ("-price", -1)])
async def test_pages_by_price_leave_nothing_out_and_show_nothing_twice(shared: Visitor, sort: str, sign: int) -> None:
    found = await listed(shared, f"category=Audio&sort={sort}")
    keys = [(sign * product["price_minor"], product["sku"]) for product in found]
    assert [price for price, _ in keys] == sorted(price for price, _ in keys)
    assert {sku for _, sku in keys} == {product["sku"] for product in await listed(shared, "category=Audio")}
    assert len(keys) == len(set(keys))


async def test_a_facet_counts_what_its_link_would_show(shared: Visitor) -> None:
    chosen = "category=Kitchen&maker=Vdara&price_from=5000&price_below=10000&limit=1"
    page = await catalog(shared, chosen)
    for row in page["facets"]["category"]:
        assert (await catalog(shared, chosen.replace("Kitchen", row["name"])))["total"] == row["count"]
    for row in page["facets"]["maker"]:
        other = chosen.replace("Vdara", row["name"].replace("&", "%26"))
        assert (await catalog(shared, other))["total"] == row["count"]
    for row in page["facets"]["price"]:
        band = f"price_from={row['price_from']}&price_below={row['price_below']}"
        other = f"category=Kitchen&maker=Vdara&limit=1&{band}"
        assert (await catalog(shared, other))["total"] == row["count"]
    assert 0 < page["total"] < 100


async def test_a_list_offers_each_choice_to_be_taken_back(shared: Visitor) -> None:
    text = await page(shared, "/products?q=lamp&maker=Okafor+%26+Sons&price=0-5000&stock=in")
    for without in ("q=lamp", "maker=Okafor+%26+Sons", "price=0-5000", "stock=in"):
        left = [part for part in ("q=lamp", "maker=Okafor+%26+Sons", "price=0-5000", "stock=in") if part != without]
        assert f'<li><a href="/products?{"&amp;".join(left)}"><span class="hidden">Remove' in text


async def test_in_stock_leaves_out_what_is_sold_out(shared: Visitor) -> None:
    assert (await shared.check_out_in_the_end(await shared.fill_cart("SP-00002", 10))).status_code == 201
    path = "/products?q=drop"
    assert "/products/SP-00002" in await page(shared, path)
    left = await page(shared, f"{path}&stock=in")
    assert "/products/SP-00002" not in left
    assert "/products/SP-00003" in left


@pytest.mark.parametrize("query", ["sort=sideways", "price_from=-1", "price_below=x", "maker=" + "x" * 99])
async def test_a_list_with_invalid_parameters_is_refused(shared: Visitor, query: str) -> None:
    assert (await shared.http.get(f"/api/v1/products?{query}")).status_code == 422


async def test_no_customer_gets_a_drop_before_it_opens(visitor: Visitor) -> None:
    opens_at = (await visitor.get(f"/api/v1/products/{UPCOMING}"))["opens_at"]
    refused = await visitor.http.put(f"/api/v1/carts/early/items/{UPCOMING}", json={"quantity": 1})
    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/not-open-yet"
    assert refused.json()["opens_at"] == opens_at
    text = await page(visitor, f"/products/{UPCOMING}")
    assert f'datetime="{opens_at}" data-countdown' in text
    assert "Add to cart" not in text

    visitor.shift.ahead_s = OPENS_AFTER_MIN[9] * 60 + 1
    assert "Add to cart" in await page(visitor, f"/products/{UPCOMING}")
    assert (await visitor.buy(UPCOMING)).status_code == 201
    later = await visitor.http.put("/api/v1/carts/early/items/SP-00012", json={"quantity": 1})
    assert later.status_code == 409


async def test_the_opening_stays_where_it_was_after_a_restart(opening: Any) -> None:
    async with opening() as first:
        before = (await first.get(f"/api/v1/products/{UPCOMING}"))["opens_at"]
    async with opening() as second:
        assert (await second.get(f"/api/v1/products/{UPCOMING}"))["opens_at"] == before


async def test_a_review_is_shown_once_and_counted(shared: Visitor) -> None:
    text = await page(shared, f"/products/{PLENTY}")
    before = summary(seeded_stars(PLENTY, 1))["count"]
    assert f"{before} reviews" in text
    form = {**hidden(text), "author": "Mira", "stars": "2", "text": "Smaller than <b>I</b> thought."}
    form["key"] = new_name("review")
    for _ in range(2):
        sent = await shared.http.post(f"/products/{PLENTY}/reviews", data=form, headers=HTML)
        assert sent.headers["location"] == f"/products/{PLENTY}?thanks#reviews"
    text = await page(shared, f"/products/{PLENTY}?thanks")
    assert f"{before + 1} reviews" in text
    assert "Smaller than &lt;b&gt;I&lt;/b&gt; thought." in text
    assert "Thank you. Your review is below." in text


async def test_an_empty_review_is_shown_again_with_its_errors(shared: Visitor) -> None:
    form = {"key": "k", "author": "Mira", "stars": "9", "text": " "}
    refused = await shared.http.post(f"/products/{PLENTY}/reviews", data=form, headers=HTML)
    assert refused.status_code == 422
    assert 'id="stars-error"' in refused.text
    assert 'id="text-error"' in refused.text
    assert 'value="Mira"' in refused.text
    unknown = await shared.http.post("/products/SP-99999/reviews", data={**form, "stars": "5", "text": "x"})
    assert unknown.status_code == 404


@pytest.fixture
async def mute(shared: Visitor) -> AsyncIterator[Visitor]:
    """A shop whose reviews take a request and never answer."""
    fault = {"target": "reviews", "kind": "hang", "percent": 100, "ttl_s": 60, "seed": 1}
    assert (await shared.http.put("/control/api/fault", json=fault)).status_code == 200
    yield shared
    await shared.heal_provider()


async def test_a_purchase_works_without_reviews(mute: Visitor) -> None:
    async with asyncio.timeout(120):
        text = await page(mute, f"/products/{PLENTY}")
        assert "Reviews are not available at the moment" in text
        assert "Add to cart" in text
        assert "Limited drops" in await page(mute, "/")
        assert "Lamp" in await page(mute, "/products?q=lamp")
    cart_id = await mute.fill_cart(PLENTY)
    bought = await pay(mute, cart_id, hidden(await page(mute, "/checkout", cart_id)))
    assert bought.status_code == 303
    await mute.all_holds()


async def test_a_visitor_sees_only_their_own_orders(shared: Visitor) -> None:
    cart_id, other = await shared.fill_cart(), await shared.fill_cart()
    order_id = (await shared.check_out(cart_id)).json()["order_id"]
    foreign = (await shared.check_out(other)).json()["order_id"]
    text = await page(shared, "/orders", cart_id)
    assert order_id in text
    assert foreign not in text
    assert "You have no orders" in await page(shared, "/orders", new_name("cart"))


async def test_an_order_is_cancelled_from_its_page(shared: Visitor) -> None:
    order_id = (await shared.buy()).json()["order_id"]
    assert "Cancel and refund" in await page(shared, f"/orders/{order_id}")
    sent = await shared.http.post(f"/orders/{order_id}/cancel", data={"x": "y"}, headers=HTML)
    assert sent.headers["location"] == f"/orders/{order_id}"
    await shared.settled()
    text = await page(shared, f"/orders/{order_id}")
    assert "Your order is cancelled." in text
    assert "Refunded; the products are available again" in text


async def test_an_order_that_was_sent_is_returned_from_its_page(shared: Visitor) -> None:
    order_id = (await shared.buy()).json()["order_id"]
    followed = f"{shared.settings.address('fulfilment')}/internal/orders/{order_id}/followed"
    async with asyncio.timeout(PATIENCE_S):
        while (await shared.get(followed))["shipment"] is None:  # noqa: ASYNC110 - the carrier takes its time
            await asyncio.sleep(0.2)
    assert "Return and refund" in await page(shared, f"/orders/{order_id}")
    sent = await shared.http.post(f"/orders/{order_id}/return", data={"x": "y"}, headers=HTML)
    assert sent.headers["location"] == f"/orders/{order_id}"
    await shared.settled()
    text = await page(shared, f"/orders/{order_id}")
    assert "You returned this order." in text
    assert "You returned it; the refund has started" in text
    assert "Return and refund" not in text
    lanes = await shared.get(f"/control/api/orders/{order_id}")
    assert [run["run_id"] for run in lanes["runs"]] == [order_id, f"{order_id}-return"]
    services = [step["service"] for step in lanes["runs"][1]["steps"]]
    assert services == ["fulfilment", "payments", "inventory", "ordering"]


async def test_support_looks_an_order_up(shared: Visitor) -> None:
    order_id = (await shared.buy()).json()["order_id"]
    assert "Card charged" in await page(shared, f"/support?order_id={order_id}")
    assert "There is no order with this number" in await page(shared, "/support?order_id=ord_none")
    assert "There is no order with this number" in await page(shared, "/support?order_id=../x")


async def test_support_lists_the_newest_orders_first(shared: Visitor) -> None:
    earlier, later = [(await shared.buy()).json()["order_id"] for _ in range(2)]
    text = await page(shared, "/support")
    assert text.index(later) < text.index(earlier)
    assert later not in await page(shared, f"/support?order_id={earlier}")


async def test_an_order_shows_its_address_only_to_the_browser_that_ordered(shared: Visitor) -> None:
    cart_id = await shared.fill_cart()
    checkout = checkout_body(cart_id)
    order_id = (await shared.check_out(cart_id)).json()["order_id"]
    private = (checkout["email"], checkout["address"]["line1"])
    own = await page(shared, f"/orders/{order_id}", cart_id)
    assert all(text in own for text in private)
    for other in ("", new_name("cart")):
        foreign = await page(shared, f"/orders/{order_id}", other)
        assert not any(text in foreign for text in private)


async def test_the_order_history_names_products_and_charges_nothing_for_a_declined_card(shared: Visitor) -> None:
    cart_id = await shared.fill_cart(PLENTY, 2)
    assert (await shared.check_out(cart_id, card="4000 0000 0000 0002")).status_code == 402
    text = await page(shared, "/orders", cart_id)
    title = (await shared.get(f"/api/v1/products/{PLENTY}"))["title"]
    assert f"2 × {title}" in text
    assert "Not charged" in text
    assert text.count('class="art"') == 1


async def test_the_header_counts_pieces(shared: Visitor) -> None:
    cart_id = await shared.fill_cart(PLENTY, 3)
    for path in ("/", "/products", f"/products/{PLENTY}", "/cart", "/orders"):
        assert re.search(r'data-count><span class="hidden">, </span>3<', await page(shared, path, cart_id)), path


async def test_static_files_are_kept_for_good_by_their_fingerprint_alone(shared: Visitor) -> None:
    text = await page(shared, "/")
    for address in re.findall(r'"(/static/[^"]+)"', text):
        answer = await shared.http.get(address)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable", address
        stale = await shared.http.get(re.sub(r"/static/\w+/", "/static/000000000000/", address))
        assert stale.status_code == 404
    assert (await shared.http.get("/static/shop.css")).headers["cache-control"] == "no-cache"
    assert (await shared.http.get("/", headers=HTML)).headers["cache-control"] == "no-store"


async def test_pages_are_light(shared: Visitor) -> None:
    cart_id = await shared.fill_cart()
    for path in ("/", "/products", f"/products/{PLENTY}", "/cart", "/checkout", "/orders", "/seller?maker=Vdara"):
        answer = await shared.http.get(path, headers={**cookie(cart_id), "accept-encoding": "identity"})
        assert answer.status_code == 200
        assert len(answer.content) < 100_000, path


async def test_a_search_uses_the_index(shared: Visitor) -> None:
    with closing(sqlite3.connect(shared.settings.data_dir / "catalog.sqlite3")) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM products WHERE sku IN"
            " (SELECT sku FROM words WHERE word >= 'lamp' AND word < 'lamq') ORDER BY sku LIMIT 25"
        ).fetchall()
    told = " ".join(row[3] for row in plan)
    assert "SEARCH words USING COVERING INDEX" in told
    assert "SCAN products" not in told


def test_every_product_has_a_picture_of_what_it_is() -> None:
    pictures = {picture(product.public()) for product in seed_products(1, 2_000)}
    assert len(pictures) > 1_500
    for noun in nouns():
        thing = picture({"title": f"Plain Oak {noun}", "maker": makers()[0]})
        assert len(thing) > 600, noun
        assert "{" not in thing
    assert len(categories()) == 6


def test_products_have_a_fitting_material_and_price() -> None:
    products = list(seed_products(1))
    made_of: dict[str, set[str]] = {}
    for product in products:
        _, material, noun = product.title.rpartition(": ")[2].split(" ", 2)
        made_of.setdefault(noun, set()).add(material)
    assert made_of["Tea Towel"] == {"Linen", "Cotton"}
    assert made_of["Blanket"] == {"Wool", "Cotton"}
    assert set(made_of) == set(nouns())
    rulers = [product.price_minor for product in products if product.title.endswith("Ruler") and not product.drop]
    assert max(rulers) <= 2_900


def test_the_same_seed_gives_the_same_first_reviews() -> None:
    assert seeded(PLENTY, 1) == seeded(PLENTY, 1) != seeded(PLENTY, 2)
    assert [review.stars for review in seeded(PLENTY, 1)] == seeded_stars(PLENTY, 1)
    assert seeded("SP-99999", 1) == seeded("anything", 1) == []
    assert summary([]) == {"count": 0, "average": None, "stars": dict.fromkeys("54321", 0)}
    assert summary([5, 4])["average"] == 4.5


def test_an_order_shows_where_it_is() -> None:
    def step(name: str, state: str) -> dict[str, str]:
        return {"step": name, "state": state, "at": "2026-11-23T21:00:00.000+00:00"}

    going = way([step("reserve", "done"), step("charge", "begun")])
    assert [stop.state for stop in going] == ["done", "now", "ahead"]
    undone = way([step("reserve", "done"), step("charge", "begun"), step("undo", "begun")])
    assert [stop.state for stop in undone] == ["done", "back", "now"]


def test_a_selection_has_a_title_and_links() -> None:
    selection = Selection.of({"q": " oak ", "price": "20000-10000000", "cursor": "abc", "other": "x"})
    assert selection.url(sort="price") == "/products?q=oak&price=20000-10000000&sort=price"
    assert [label for label, _ in selection.chips()] == ["“oak”", "€200.00 and more"]
    assert price_words("nonsense") == "Price"
    assert Selection().url() == "/products"


@pytest.mark.parametrize("written", ["12/30", "1230", "12 / 30", "12/2030", "12-30"])
def test_an_expiry_is_read_in_the_forms_that_people_write(written: str) -> None:
    assert checkout_from_form({"card_expiry": written}, "c")["card"]["expiry"] == "12/30"
    assert checkout_from_form({"card_expiry": "soon"}, "c")["card"]["expiry"] == "soon"


def test_a_day_is_written_out() -> None:
    assert day("2026-03-05T01:02:03+00:00") == "5 March 2026"
