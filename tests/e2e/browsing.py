"""A user at a browser: a desktop or a phone, and whatever goes wrong on the pages they open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DEVICES = {"desktop": DESKTOP, "phone": PHONE}
BOTH = pytest.mark.parametrize("device", list(DEVICES))
"""For what is drawn otherwise on a phone."""
_LONG = {name: pytest.param(name, marks=pytest.mark.long) for name in DEVICES}
DESKTOP_AND_LONG_PHONE = pytest.mark.parametrize("device", ["desktop", _LONG["phone"]])
PHONE_AND_LONG_DESKTOP = pytest.mark.parametrize("device", ["phone", _LONG["desktop"]])

# Who waits for what a page shows waits long: a machine with other work is slow, and only a fault takes so long.
expect.set_options(timeout=60_000)

GOOD_CARD = "4242 4242 4242 4242"
DECLINED_CARD = "4000 0000 0000 0002"
# Fonts without hinting and one scale, so that a picture depends on as little of the machine as can be.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--force-color-profile=srgb",
]


@contextmanager
def open_browser(playwright: Playwright, path: str) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
    yield browser
    browser.close()


@contextmanager
def visit(browser: Browser, url: str, device: str = "desktop", *, refused: int = 0, **settings: Any) -> Iterator[Page]:
    """A page to walk the shop with.

    At its end: no other site was asked for anything, every page forbade it, and the console is
    quiet except for so many refusals, which the browser itself logs there.
    """
    context = browser.new_context(base_url=url, **{**DEVICES[device], **settings})
    page = context.new_page()
    page.set_default_timeout(60_000)
    strangers: list[str] = []
    unguarded: list[str] = []
    told: list[str] = []
    context.on("request", lambda asked: None if asked.url.startswith(f"{url}/") else strangers.append(asked.url))
    page.on("console", lambda word: told.append(word.text) if word.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(str(error)))

    def note_policy(response: Any) -> None:
        is_page = response.request.resource_type == "document" and not 300 <= response.status < 400
        if is_page and not response.headers.get("content-security-policy", "").startswith("default-src 'self'"):
            unguarded.append(response.url)

    page.on("response", note_policy)
    try:
        yield page
    finally:
        context.close()
    refusals = [text for text in told if "the server responded with a status of 4" in text]
    assert (strangers, unguarded, [text for text in told if text not in refusals]) == ([], [], [])
    assert len(refusals) == refused


def fill_address(page: Page) -> None:
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_label("Name", exact=True).fill("Ada Lovelace")
    page.get_by_label("Street and number").fill("12 St James's Square")
    page.get_by_label("Postcode").fill("SW1Y")
    page.get_by_label("City").fill("London")
    page.get_by_label("Country").select_option("GB")


def fill_card(page: Page, number: str, *, expires: str = "12/30") -> None:
    page.get_by_label("Card number").fill(number)
    page.get_by_label("Expires").fill(expires)
    page.get_by_label("CVC").fill("123")


def focused(page: Page) -> str:
    """What has the focus, by its words."""
    words: str = page.evaluate(
        """() => {
            const at = document.activeElement;
            const label = at.getAttribute("aria-label") || at.labels?.[0]?.textContent || at.textContent || at.id;
            return at === document.body ? "" : label.trim().replace(/\\s+/g, " ");
        }"""
    )
    return words
