"""With reduced motion nothing moves. Without it the same things move, otherwise the test would prove nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from .browsing import DESKTOP_AND_LONG_PHONE, visit

MOVING = "document.getAnimations().map(one => one.animationName || one.transitionProperty)"
SMOOTH = "getComputedStyle(document.documentElement).scrollBehavior"


NOTHING: tuple[list[str], str] = ([], "auto")


def moving(page: Page) -> tuple[list[str], str]:
    """What moves on a page, and how it scrolls; `test_accessibility` asks it of every page."""
    return page.evaluate(MOVING), page.evaluate(SMOOTH)


def open_drawer(page: Page) -> list[str]:
    page.goto("/products/SP-00040")
    page.get_by_role("button", name="Add to cart").click()
    # Asked in the frame in which it opens, because it is over soon.
    moving: list[str] = page.evaluate(
        f"""() => new Promise(resolve => {{
            const look = () => document.querySelector("#drawer").open ? resolve({MOVING}) : requestAnimationFrame(look);
            look();
        }})"""
    )
    return moving


@pytest.mark.nightly
def test_the_drawer_slides_unless_the_user_wants_no_motion(browser: Browser, url: str) -> None:
    with visit(browser, url, reduced_motion="no-preference") as page:
        assert "slide" in open_drawer(page)
    with visit(browser, url, reduced_motion="reduce") as page:
        assert open_drawer(page) == []


@pytest.fixture
def visitors(url: str) -> Iterator[None]:
    httpx.put(f"{url}/control/api/load", json={"visitors": 6}).raise_for_status()
    yield
    httpx.put(f"{url}/control/api/load", json={"visitors": 0}).raise_for_status()


@pytest.mark.nightly
@DESKTOP_AND_LONG_PHONE
@pytest.mark.usefixtures("visitors")
def test_the_control_room_counts_instead_of_drawing_dots(browser: Browser, url: str, device: str) -> None:
    with visit(browser, url, device, reduced_motion="reduce") as page:
        page.goto("/control")
        expect(page.locator("#lanes [data-key=api] .counts")).to_have_text(re.compile("[1-9]"), timeout=90_000)
        expect(page.locator("#dots")).to_be_hidden()
        assert page.evaluate(MOVING) == []
