"""What people do in the shop, at a desk and with a telephone in the hand, with scripts and without."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.shop.visitor import checkout_body

from .browsing import (
    DECLINED_CARD,
    DESKTOP_AND_LONG_PHONE,
    GOOD_CARD,
    PHONE_AND_LONG_DESKTOP,
    fill_address,
    fill_card,
    focused,
    visit,
)

SLOW = {"target": "inventory", "kind": "slow", "percent": 100, "ttl_s": 60, "seed": 1}
PAID = "Thank you. Your order is paid."
PAY = re.compile("^Pay")


def find_a_lamp(page: Page) -> str:
    """From the home page to a product, by its name and two facets."""
    page.goto("/")
    page.get_by_role("searchbox").fill("brass lamp")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Results for “brass lamp”")
    every = page.get_by_role("status").inner_text()
    for facet in ("Iversen", "In stock only"):
        choose_facet(page, facet)
        expect(page.get_by_role("list", name="Active filters")).to_contain_text(facet.removesuffix(" only"))
    assert page.get_by_role("status").inner_text() != every
    card = page.locator(".card").first
    title = card.locator(".name").inner_text()
    assert "Brass" in title
    expect(card.locator(".maker")).to_have_text("Iversen")
    card.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    return title


def choose_facet(page: Page, name: str) -> None:
    fold = page.locator("details.facets summary")
    if fold.is_visible() and not page.locator("details.facets").evaluate("fold => fold.open"):
        fold.click()
    page.get_by_role("complementary", name="Filters").get_by_role("link", name=re.compile(f"^{name}")).click()


def minor(text: str) -> int:
    return int(re.sub(r"\D", "", text))


@DESKTOP_AND_LONG_PHONE
def test_a_customer_searches_buys_and_cancels(browser: Browser, url: str, device: str) -> None:
    with visit(browser, url, device, refused=2) as page:
        title = find_a_lamp(page)
        page.get_by_role("button", name="Add to cart").click()
        drawer = page.get_by_role("dialog", name="Your cart")
        expect(drawer).to_contain_text(title)
        once = minor(drawer.locator(".total b").inner_text())
        drawer.get_by_label(f"Quantity of {title}").fill("2")
        drawer.get_by_label(f"Quantity of {title}").press("Enter")
        expect(drawer.locator(".total b")).not_to_contain_text(f"{once / 100:,.2f}")
        assert minor(drawer.locator(".total b").inner_text()) == 2 * once
        expect(page.locator("[data-count]")).to_contain_text("2")
        drawer.get_by_role("link", name="Check out").click()

        be_told_of_a_wrong_card(page)
        be_declined(page)
        fill_card(page, GOOD_CARD)
        page.get_by_role("button", name=PAY).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(PAID)
        assert f"2 × {title}" in page.locator("main").inner_text()

        page.get_by_role("link", name="Orders", exact=True).click()
        page.get_by_role("main").get_by_role("link", name="Paid").click()
        page.get_by_text("Cancel this order").click()
        page.get_by_role("button", name="Cancel and refund").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your order is cancelled.")
        expect(page.locator(".way")).to_contain_text("Refunded; the products are available again")
        order_id = page.url.rpartition("/")[2]
    (charge,) = httpx.get(f"{url}/psp/v1/charges?order_id={order_id}").json()
    assert charge["amount_minor"] == charge["refunded_minor"] == 2 * once


def be_told_of_a_wrong_card(page: Page) -> None:
    """Each error stands beside its field, and the focus where they are told."""
    fill_address(page)
    fill_card(page, "1234 5678", expires="99/99")
    page.get_by_role("button", name=PAY).click()
    expect(page.get_by_role("alert")).to_contain_text("Please check these fields.")
    assert focused(page).startswith("Please check")
    for label in ("Card number", "Expires"):
        field = page.get_by_label(label)
        expect(field).to_have_attribute("aria-invalid", "true")
        beside = page.locator(f"#{field.get_attribute('aria-describedby')}")
        expect(beside).to_be_visible()
        expect(beside).to_have_text(
            {
                "Card number": "Check the card number: most have 16 digits.",
                "Expires": "Enter month and year, like 12/30.",
            }[label]
        )
        at, words = field.bounding_box(), beside.bounding_box()
        assert at is not None
        assert words is not None
        assert 0 <= words["y"] - at["y"] - at["height"] < 12
    expect(page.get_by_label("CVC")).not_to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("E-mail")).to_have_value("ada@example.org")
    page.get_by_role("alert").get_by_role("link", name=re.compile("^Expires")).click()
    assert focused(page) == "Expires"
    expect(page.get_by_label("Expires")).to_have_value("99/99")
    page.get_by_label("Expires").press_sequentially("1")
    expect(page.locator("#card_expiry-error")).to_have_count(0)
    expect(page.get_by_label("Expires")).not_to_have_attribute("aria-invalid", "true")


def be_declined(page: Page) -> None:
    """What was said of the address is kept, what was said of the card is not."""
    fill_card(page, DECLINED_CARD)
    page.get_by_role("button", name=PAY).click()
    expect(page.get_by_role("alert")).to_contain_text("declined")
    assert "declined" in focused(page)
    expect(page.get_by_label("Street and number")).to_have_value("12 St James's Square")
    expect(page.get_by_label("Country")).to_have_value("GB")
    expect(page.get_by_label("Card number")).to_have_value("")


@pytest.mark.nightly
@PHONE_AND_LONG_DESKTOP
def test_the_purchase_needs_no_script(browser: Browser, url: str, device: str) -> None:
    with visit(browser, url, device, refused=2, java_script_enabled=False) as page:
        page.goto("/products?q=brass+lamp&maker=Iversen")
        page.locator(".card a").first.click()
        page.get_by_role("button", name="Add to cart").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Cart")
        page.get_by_label("Quantity of").fill("3")
        page.get_by_role("button", name="Change").click()
        expect(page.get_by_label("Quantity of")).to_have_value("3")
        page.get_by_role("link", name="Check out").click()
        fill_address(page)
        fill_card(page, "1234 5678")
        page.get_by_role("button", name=PAY).click()
        expect(page.get_by_label("Card number")).to_have_attribute("aria-invalid", "true")
        be_declined_without_script(page)
        fill_card(page, GOOD_CARD)
        page.get_by_role("button", name=PAY).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(PAID)
        page.get_by_text("Cancel this order").click()
        page.get_by_role("button", name="Cancel and refund").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your order is cancelled.")


def be_declined_without_script(page: Page) -> None:
    fill_card(page, DECLINED_CARD)
    page.get_by_role("button", name=PAY).click()
    expect(page.get_by_role("alert")).to_contain_text("declined")
    expect(page.get_by_label("Card number")).to_have_value("")


@pytest.fixture
def slow_shelf(url: str) -> Iterator[None]:
    httpx.put(f"{url}/control/api/fault", json=SLOW).raise_for_status()
    yield
    httpx.delete(f"{url}/control/api/fault").raise_for_status()


@pytest.mark.nightly
@pytest.mark.usefixtures("slow_shelf")
def test_an_order_is_followed_until_it_is_paid(browser: Browser, url: str) -> None:
    """A user who watches the slow fetching of the pieces sees the order move without asking again."""
    httpx.put(f"{url}/api/v1/carts/patient/items/SP-00044", json={"quantity": 1}).raise_for_status()
    key = {"Idempotency-Key": '"patient"'}
    ask = {"url": f"{url}/api/v1/checkout", "json": checkout_body("patient"), "headers": key, "timeout": 120}
    buyer = threading.Thread(target=httpx.post, kwargs=ask)
    buyer.start()
    try:
        with visit(browser, url) as page:
            page.context.add_cookies([{"name": "cart", "value": "patient", "url": url}])
            open_order_at_once(page)
            expect(page.get_by_role("heading", level=1)).to_have_text("In progress")
            expect(page.locator(".way [aria-current=step]")).to_be_visible()
            httpx.delete(f"{url}/control/api/fault").raise_for_status()  # or a busy machine finds no time for the rest
            loaded = page.evaluate("performance.timeOrigin")
            expect(page.get_by_role("heading", level=1)).to_have_text(PAID, timeout=90_000)
            assert page.title().startswith("Paid")
            assert page.evaluate("performance.timeOrigin") == loaded  # the page itself stayed
    finally:
        buyer.join()


def open_order_at_once(page: Page) -> None:
    for _ in range(50):
        page.goto("/orders")
        if (order := page.locator(".orders a")).count():
            page.goto(order.first.get_attribute("href") or "")
            return
        page.wait_for_timeout(50)
    pytest.fail("the order never came into the history")


@PHONE_AND_LONG_DESKTOP
def test_a_drop_that_is_not_open_yet_is_refused(browser: Browser, url: str, device: str) -> None:
    with visit(browser, url, device) as page:
        page.goto("/")
        soon = page.get_by_role("region", name="Opening soon").locator(".card").first
        expect(soon).to_contain_text(re.compile(r"Opens in (\d+:)?\d+:\d\d"))
        soon.get_by_role("link").click()
        note = page.get_by_role("status")
        expect(note).to_contain_text(re.compile(r"This drop opens at \d\d:\d\d UTC, in (\d+:)?\d+:\d\d"))
        before = note.inner_text()
        expect(page.get_by_role("button", name="Add to cart")).to_have_count(0)
        expect(note).not_to_have_text(before)  # it counts down


@DESKTOP_AND_LONG_PHONE
def test_a_product_that_is_sold_out(browser: Browser, url: str, device: str) -> None:
    sku = {"desktop": "SP-00002", "phone": "SP-00003"}[device]
    with visit(browser, url, device, refused=1) as page:
        page.goto(f"/products/{sku}")
        expect(page.locator(".price")).to_contain_text("Only 10 left")
        page.get_by_role("button", name="Add to cart").click()
        expect(page.get_by_role("dialog", name="Your cart")).to_be_visible()
        buy_all(url, sku, name=f"greedy-{device}")
        page.goto(f"/products/{sku}")
        expect(page.locator(".price")).to_contain_text("Sold out")
        expect(page.get_by_role("main")).to_contain_text("All pieces are sold or reserved.")
        expect(page.get_by_role("button", name="Add to cart")).to_have_count(0)
        page.goto("/cart")
        expect(page.locator(".lines .error")).to_have_text("Sold out. Please remove it.")
        page.goto("/checkout")
        fill_address(page)
        fill_card(page, GOOD_CARD)
        page.get_by_role("button", name=PAY).click()
        page.get_by_role("alert").get_by_role("link", name="Change the cart").click()
        page.get_by_role("button", name="Remove").click()
        expect(page.get_by_role("main")).to_contain_text("Your cart is empty")


def buy_all(url: str, sku: str, name: str) -> None:
    httpx.put(f"{url}/api/v1/carts/{name}/items/{sku}", json={"quantity": 10}).raise_for_status()
    body, key = checkout_body(name), {"Idempotency-Key": f'"{name}"'}
    httpx.post(f"{url}/api/v1/checkout", json=body, headers=key, timeout=120).raise_for_status()


REDRAW = """async (times) => {
  const { keep, html } = await import("/control/static/dom.js");
  const list = html("ul", {});
  for (let i = 0; i < times; i += 1) keep(list, ["on", "off", "on"], (text) => text, (text) => html("li", {}, text));
  return [...list.children].map((item) => item.textContent);
}"""


def test_a_list_of_the_control_room_with_two_equal_keys_does_not_grow(browser: Browser, url: str) -> None:
    with visit(browser, url) as page:
        page.goto("/control")
        assert sorted(page.evaluate(REDRAW, 5)) == ["off", "on", "on"]
