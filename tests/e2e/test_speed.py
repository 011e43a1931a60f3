"""Every page is light, comes soon, and does not jump; `python -m tests.e2e.timings` prints the figures."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Browser

from tests.machine import slowness

from .browsing import PHONE_AND_LONG_DESKTOP
from .pages import Customer, Stop
from .timings import MEASURED, seen, server_ms

SIZE_MAX_BYTES = 200_000
SERVER_MAX_MS = 100.0
LCP_MAX_MS = 2_500.0
CLS_MAX = 0.1
TRIES_MAX = 5  # other tests share the machine: the quietest of some moments is the page's own figure
every_page = pytest.mark.parametrize("stop", MEASURED, ids=lambda stop: stop.name)


@PHONE_AND_LONG_DESKTOP
@every_page
def test_a_page_is_small_and_does_not_shift(
    browser: Browser, url: str, customer: Customer, stop: Stop, device: str
) -> None:
    found = seen(browser, url, customer, stop, device)
    assert 2_000 < found.size_bytes < SIZE_MAX_BYTES
    assert found.requests > 1
    assert found.cls < CLS_MAX
    assert found.lcp_ms < LCP_MAX_MS * slowness()


@pytest.mark.nightly
@every_page
def test_the_server_is_quick(url: str, customer: Customer, stop: Stop) -> None:
    medians_ms: list[float] = []
    with httpx.Client(base_url=url) as http:
        while len(medians_ms) < TRIES_MAX and min(medians_ms, default=SERVER_MAX_MS) >= SERVER_MAX_MS:
            medians_ms.append(server_ms(http, stop, customer, rounds=7))
    assert min(medians_ms) < SERVER_MAX_MS * slowness(), medians_ms
