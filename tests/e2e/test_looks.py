"""The pages look as they did; `pytest tests/e2e/test_looks.py -n0 --update-baselines` says how they are meant to look.

What differs is put into `test-results/looks/`: the baseline, the page, and the page with what differs in red.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from . import looks
from .browsing import BOTH, visit
from .conftest import opened
from .pages import STOPS, Customer, Stop

SHARE_MAX = 0.005
LOOSE_MAX = 0.30  # other fonts: the same things in the same places, in other letters
PICTURED = [stop for stop in STOPS if stop.name in ("home", "listing", "product", "checkout", "order", "control room")]
TRIES_MAX = 10


class DrawnWithOtherToolsWarning(UserWarning):
    """The browser or the fonts are not those that the baselines were made with."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, stocked: Callable[[Path], None]) -> Iterator[str]:
    """A shop that no other test has touched, because its pages show what was done to it."""
    with opened(tmp_path_factory, stocked) as at:
        yield at


@pytest.fixture(scope="module")
def customer(url: str) -> Customer:
    return Customer.of(url)


@pytest.mark.nightly
@BOTH
@pytest.mark.parametrize("stop", PICTURED, ids=lambda stop: stop.name)
@pytest.mark.filterwarnings("default::tests.e2e.test_looks.DrawnWithOtherToolsWarning")
def test_a_page_looks_as_it_did(
    browser: Browser, url: str, customer: Customer, stop: Stop, device: str, request: pytest.FixtureRequest
) -> None:
    name = f"{stop.name.replace(' ', '-')}-{device}"
    with visit(browser, url, device, color_scheme="light", reduced_motion="reduce") as page:
        customer.remembered_by(page, url)
        page.goto("/")
        tools = looks.drawn_with(page)
        open_whole(page, url, customer, stop)
        picture = looks.settled(page)
    if request.config.getoption("--update-baselines", default=False):
        looks.save(name, picture, tools)
    share = looks.difference(name, picture)
    assert share <= allowed(tools), f"{share:.2%} of {name} looks otherwise: see {looks.ARTEFACTS}"


def open_whole(page: Page, url: str, customer: Customer, stop: Stop) -> None:
    """Open a page with its courtesies: a busy machine may leave out what buyers said."""
    for _ in range(TRIES_MAX):
        stop.open(page, url, customer)
        if stop.name not in ("home", "listing", "product") or page.locator(".rating").count():
            break
    if stop.name == "order":  # what follows it is done a moment later
        expect(page.locator(".way [aria-current]")).to_have_count(0, timeout=120_000)
    if stop.name == "control room":
        expect(page.locator("#map .box[data-key=psp]")).to_be_attached()
        while True:
            expect(page.locator("#line")).to_have_text("live", timeout=120_000)  # what is old is dimmed
            if page.locator("#invariants li").count():
                return
            page.reload()  # it was written before the shop had been looked at


def allowed(tools: dict[str, object]) -> float:
    made = looks.baselines_made_with()
    if tools == made:
        return SHARE_MAX
    words = f"baselines were made with {made}, and this is {tools}: compared loosely, up to {LOOSE_MAX:.0%}"
    warnings.warn(words, DrawnWithOtherToolsWarning, stacklevel=2)
    return LOOSE_MAX


def test_the_baselines_are_small() -> None:
    pictures = list(looks.BASELINES.glob("*.png"))
    assert len(pictures) == 2 * len(PICTURED)
    assert sum(path.stat().st_size for path in pictures) < 2_000_000


def test_another_browser_is_told_and_compared_loosely() -> None:
    assert allowed(looks.baselines_made_with()) == SHARE_MAX
    with pytest.warns(DrawnWithOtherToolsWarning, match=r"compared loosely, up to 30%"):
        assert allowed({"chromium": "1", "fonts": []}) == LOOSE_MAX
