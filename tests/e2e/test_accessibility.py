"""axe finds nothing serious on any page, on a desktop and on a phone, by day and by night."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from . import axe
from .browsing import BOTH, visit
from .pages import STOPS, Customer, Stop


@pytest.fixture(scope="module")
def source() -> str:
    return axe.axe_source()


@pytest.fixture(scope="module")
def customer(url: str) -> Customer:
    return Customer.of(url)


@BOTH
@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.name)
def test_axe_finds_nothing_serious(
    browser: Browser, url: str, customer: Customer, source: str, stop: Stop, device: str
) -> None:
    with visit(browser, url, device, refused=stop.refused, reduced_motion="reduce") as page:
        customer.remembered_by(page, url)
        stop.open(page, url, customer)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert axe.faults(page, source) == [], scheme
