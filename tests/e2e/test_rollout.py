"""A new release is rolled out with the form of the control room, and judged by itself."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.shop.running import running

from .browsing import visit

ENDS_MS = 180_000


@pytest.mark.nightly
def test_a_release_with_a_bug_is_taken_back_and_a_good_one_is_promoted(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path / "data", "--procs", "--replicas", "2") as shop, visit(browser, shop.url) as page:
        httpx.put(f"{shop.url}/control/api/load", json={"visitors": 20}).raise_for_status()
        page.goto("/control")
        panel = page.locator("section.rollout")
        for has_bug, result in ((True, "rolled back"), (False, "promoted")):
            panel.get_by_label("Service").select_option("catalog")
            panel.get_by_label("with a bug").set_checked(has_bug)
            panel.get_by_role("button", name="Roll out").click()
            expect(panel.locator("#rollout")).to_contain_text(result, timeout=ENDS_MS)
            seen = httpx.get(f"{shop.url}/control/api/rollout").json()
            assert (seen["service"], seen["result"]) == ("catalog", result)
