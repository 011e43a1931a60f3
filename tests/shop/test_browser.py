"""A person buys something, in a real browser: found among 5,000, put into a cart, paid, and seen to be paid."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.browsing import fill_address, fill_card

from .running import running

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--no-first-run",
)
PATHS = ("/", "/products", "/products?q=lamp&stock=in", "/products/SP-00001", "/products/SP-00012", "/cart", "/orders")
PATHS += ("/seller?maker=Vdara", "/support", "/control", "/nowhere")
# The first has the engine without the windows around it: it takes a fifth of the processor's time for a new page.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_LEFT_OUT = "no Chromium on this machine: the journey through a browser was left out"


def chromium_or_else() -> str:
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    if os.environ.get("CI"):
        pytest.fail("CI never leaves the browser out: install Debian's chromium-headless-shell")
    pytest.skip(_LEFT_OUT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium_or_else()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, stocked: Callable[[Path], None]) -> Iterator[str]:
    data_dir = tmp_path_factory.mktemp("shop") / "data"
    stocked(data_dir)
    with running(data_dir) as shop:
        yield shop.url


def fill_form(page: Page, card: str) -> None:
    fill_address(page)
    fill_card(page, card)


@pytest.mark.long  # `e2e/test_journeys` buys, with scripts and without
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_customer_buys_a_lamp(browser: Browser, url: str, width: int, scripts: bool) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, java_script_enabled=scripts)
    page = context.new_page()
    strangers: list[str] = []
    page.on("request", lambda request: None if request.url.startswith(url) else strangers.append(request.url))

    page.goto(url)
    page.get_by_role("searchbox").fill("brass desk lamp")
    page.get_by_role("button", name="Search").click()
    title = page.locator(".card .name").first.inner_text()
    assert "Brass Desk Lamp" in title
    page.locator(".card a").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    page.get_by_label("Quantity").fill("2")
    page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_role("heading", name="Your cart" if scripts else "Cart", exact=True)).to_be_visible()
    page.get_by_role("link", name="Check out").click()

    fill_form(page, "4000 0000 0000 0002")
    page.get_by_role("button", name=re.compile("^Pay")).click()
    expect(page.get_by_role("alert")).to_contain_text("declined")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_label("E-mail")).to_have_value("ada@example.org")
    expect(page.get_by_label("Card number")).to_have_value("")

    fill_card(page, "4242 4242 4242 4242")
    page.get_by_role("button", name=re.compile("^Pay")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you. Your order is paid.")
    expect(page.locator(".way")).to_contain_text("Card charged")
    assert f"2 × {title}" in page.locator("main").inner_text()

    page.get_by_role("link", name="Cart").click()
    expect(page.locator("#drawer" if scripts else "main")).to_contain_text("Your cart is empty")
    assert not strangers
    context.close()


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_no_page_is_wider_than_its_window(browser: Browser, url: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844})
    for path in PATHS:
        page.goto(f"{url}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.close()


def test_the_drawer_changes_the_cart_and_gives_the_focus_back(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}/products/SP-00060")
    page.get_by_role("button", name="Add to cart").click()
    drawer = page.get_by_role("dialog")
    quantity = drawer.get_by_role("spinbutton")
    quantity.fill("3")
    quantity.press("Tab")
    expect(page.locator("[data-count]")).to_contain_text("3")
    expect(drawer.get_by_role("spinbutton")).to_have_value("3")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(page.get_by_role("button", name="Add to cart")).to_be_focused()
    page.close()


def test_a_countdown_runs_where_scripts_run(browser: Browser, url: str) -> None:
    for scripts, shown in ((True, re.compile(r"^in (\d+:)?\d+:\d\d$")), (False, re.compile(r"^\d\d:\d\d UTC$"))):
        context = browser.new_context(java_script_enabled=scripts)
        page = context.new_page()
        page.goto(f"{url}/products/SP-00012")
        expect(page.locator(".note .countdown")).to_have_text(shown)
        context.close()


def test_an_order_that_is_undone_is_followed_to_its_end(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}/products/SP-00070")
    page.get_by_role("button", name="Add to cart").click()
    page.get_by_role("link", name="Check out").click()
    fill_form(page, "4242 4242 4242 4242")
    page.get_by_role("button", name=re.compile("^Pay")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you. Your order is paid.")
    fault = {"target": "psp", "kind": "fail", "percent": 100, "ttl_s": 60, "seed": 1}
    httpx.put(f"{url}/control/api/fault", json=fault).raise_for_status()
    page.get_by_text("Cancel this order").click()
    page.wait_for_timeout(2_500)  # the page asks for the order each second, and what was opened stays open
    page.get_by_role("button", name="Cancel and refund").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Being cancelled")
    httpx.delete(f"{url}/control/api/fault").raise_for_status()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your order is cancelled.", timeout=90_000)
    page.close()


def paid_orders(url: str) -> int:
    orders = httpx.get(f"{url}/control/api/state").json()["orders"]
    return int(orders["paid"]["orders"]) if "paid" in orders else 0


def test_pressing_twice_buys_once(browser: Browser, url: str) -> None:
    context = browser.new_context()
    first = context.new_page()
    first.goto(f"{url}/products/SP-00050")
    first.get_by_role("button", name="Add to cart").click()
    first.get_by_role("link", name="Check out").click()
    fill_form(first, "4242 4242 4242 4242")
    before = paid_orders(url)
    first.get_by_role("button", name=re.compile("^Pay")).dblclick()
    expect(first.get_by_role("heading", level=1)).to_have_text("Thank you. Your order is paid.")
    assert paid_orders(url) == before + 1
    context.close()


def test_without_a_browser_ci_fails_and_other_machines_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI never leaves the browser out"):
        chromium_or_else()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="was left out"):
        chromium_or_else()
