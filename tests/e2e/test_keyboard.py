"""The shop without a mouse: everything is reached by Tab, done by Enter or Space, and seen to have the focus."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from .browsing import DESKTOP_AND_LONG_PHONE, GOOD_CARD, focused, visit

STOPS_MAX = 80  # the next thing to do must not be further away
# A ring around it (drawings have theirs on their frame), and on the screen once the page has scrolled there.
_SEEN = """() => {
    const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
    const frame = at.matches("svg *") && at.querySelector(":scope > rect");
    const ring = frame ? parseFloat(getComputedStyle(frame).strokeWidth) >= 3
        : style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const onScreen = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    return at === document.body || (ring && onScreen && box.width > 0);
}"""


def tab(page: Page, *, back: bool = False) -> str:
    """To the next stop, which must be seen; gives what it is."""
    page.keyboard.press("Shift+Tab" if back else "Tab")
    try:
        page.wait_for_function(_SEEN, timeout=60_000)
    except PlaywrightTimeout:
        pytest.fail(f"has the focus, and nobody sees it: {page.evaluate('document.activeElement.outerHTML')[:200]}")
    return focused(page)


def tab_to(page: Page, words: str, *, back: bool = False) -> None:
    passed = []
    for _ in range(STOPS_MAX):
        passed.append(tab(page, back=back))
        if re.search(words, passed[-1]):
            return
    pytest.fail(f"{words!r} is not within {STOPS_MAX} stops: {passed}")


def write(page: Page, label: str, words: str) -> None:
    tab_to(page, f"^{label}")
    page.keyboard.type(words)


@DESKTOP_AND_LONG_PHONE
def test_a_purchase_and_its_return_by_keyboard_alone(browser: Browser, url: str, device: str) -> None:
    with visit(browser, url, device) as page:
        page.goto("/")
        tab_to(page, "^Search products")
        page.keyboard.type("brass lamp")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Results for “brass lamp”")
        title = page.locator(".card .name").first.inner_text()
        tab_to(page, re.escape(title))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        tab_to(page, "^Quantity")
        tab_to(page, "^Add to cart")
        page.keyboard.press("Space")
        expect(page.get_by_role("dialog", name="Your cart")).to_be_visible()
        tab_to(page, "^Check out")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Checkout")

        write(page, "E-mail", "ada@example.org")
        write(page, "Name", "Ada Lovelace")
        write(page, "Street", "12 St James's Square")
        write(page, "Postcode", "SW1Y")
        write(page, "City", "London")
        write(page, "Country", "United K")
        write(page, "Card number", GOOD_CARD)
        write(page, "Expires", "12/30")
        write(page, "CVC", "123")
        tab_to(page, "^Pay")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Thank you. Your order is paid.")
        tab_to(page, "^Cancel this order")
        page.keyboard.press("Space")
        tab_to(page, "^Cancel and refund")
        page.keyboard.press("Space")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your order is cancelled.")


@DESKTOP_AND_LONG_PHONE
@pytest.mark.parametrize("path", ["/", "/products", "/products/SP-00040", "/control"])
def test_the_first_stop_skips_to_what_the_page_is_about(browser: Browser, url: str, path: str, device: str) -> None:
    with visit(browser, url, device) as page:
        page.goto(path)
        assert tab(page).startswith("Skip to")
        page.keyboard.press("Enter")
        page.wait_for_function("() => location.hash === '#main'")
        tab(page)
        assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


@pytest.mark.nightly
@DESKTOP_AND_LONG_PHONE
def test_the_drawer_keeps_the_focus_and_gives_it_back(browser: Browser, url: str, device: str) -> None:
    with visit(browser, url, device) as page:
        page.goto("/products/SP-00040")
        tab_to(page, "^Add to cart")
        page.keyboard.press("Enter")
        drawer = page.get_by_role("dialog", name="Your cart")
        expect(drawer.locator(".lines li")).to_have_count(1)
        for back in (False, True):
            visited = {tab(page, back=back) for _ in range(12) if in_drawer_or_nowhere(page)}
            assert {"Close the cart", "Check out"} <= visited
        page.keyboard.press("Escape")
        expect(drawer).to_be_hidden()
        assert focused(page) == "Add to cart"
        tab_to(page, "^Cart", back=True)
        page.keyboard.press("Enter")
        expect(drawer).to_be_visible()
        tab_to(page, "^Close the cart")
        page.keyboard.press("Space")
        expect(drawer).to_be_hidden()
        assert focused(page).startswith("Cart")


def in_drawer_or_nowhere(page: Page) -> bool:
    """A browser may go round by its own bars, where the page has no focus at all."""
    assert page.evaluate("document.activeElement === document.body || drawer.contains(document.activeElement)")
    return True


def test_the_focus_stays_on_a_quantity_that_was_changed_in_the_drawer(browser: Browser, url: str) -> None:
    with visit(browser, url) as page:
        page.goto("/products/SP-00040")
        page.get_by_role("button", name="Add to cart").press("Enter")
        drawer = page.get_by_role("dialog", name="Your cart")
        expect(drawer).to_be_visible()
        tab_to(page, "^Quantity of")
        page.keyboard.press("ArrowUp")
        expect(page.locator("[data-count]")).to_contain_text("2")
        assert focused(page).startswith("Quantity of")
        page.keyboard.type("3")
        assert tab(page).startswith("Remove")  # and so the quantity is changed
        expect(page.locator("[data-count]")).to_contain_text("3")
        assert focused(page).startswith("Remove")
        page.keyboard.press("Enter")
        expect(drawer).to_contain_text("Your cart is empty")
        assert page.evaluate("document.activeElement !== document.body && drawer.contains(document.activeElement)")


@pytest.mark.nightly
@DESKTOP_AND_LONG_PHONE
def test_the_control_room_is_walked_from_its_first_stop_to_its_last(browser: Browser, url: str, device: str) -> None:
    with visit(browser, url, device) as page:
        page.goto("/control")
        passed = [tab(page) for _ in range(48)]
        assert {"visitors", "Break it"} <= set(passed)
        assert any(words.startswith("Start: ") for words in passed)
