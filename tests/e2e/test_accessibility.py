"""axe finds nothing serious on any page, by day and by night, and with reduced motion nothing moves on it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from . import axe
from .browsing import DESKTOP_AND_LONG_PHONE, visit
from .pages import STOPS, Customer, Stop
from .test_motion import NOTHING, moving

WATCH = """() => {
    const note = () => { window.wasOld ||= document.body.dataset.old === "true"; };
    window.wasOld = false;
    note();
    new MutationObserver(note).observe(document.body, {attributes: true});
}"""


@pytest.fixture(scope="module")
def source() -> str:
    return axe.axe_source()


@DESKTOP_AND_LONG_PHONE
@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.name)
def test_axe_finds_nothing_serious_and_nothing_moves(
    browser: Browser, url: str, customer: Customer, source: str, stop: Stop, device: str
) -> None:
    with visit(browser, url, device, refused=stop.refused, reduced_motion="reduce") as page:
        customer.remembered_by(page, url)
        stop.open(page, url, customer)
        for link in page.get_by_role("link").all()[:3]:
            link.focus()
        assert moving(page) == NOTHING
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert faults(page, source) == [], scheme


def faults(page: Page, source: str) -> list[str]:
    """What axe finds. The control room is looked at while it is live, because a state that is old is dimmed."""
    page.evaluate(WATCH)
    while (found := axe.faults(page, source)) and page.evaluate("wasOld"):
        expect(page.locator("#line")).to_have_text("live", timeout=120_000)
        page.evaluate(WATCH)
    return found
