"""How heavy and how quick each page is: `python -m tests.e2e.timings` prints the table."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from playwright.sync_api import Browser, sync_playwright

from tests.shop.running import running
from tests.shop.test_browser import chromium_or_else

from .browsing import DEVICES, open_browser, visit
from .pages import STOPS, Customer, Stop

MEASURED = [stop for stop in STOPS if stop.name not in ("too many", "checkout, refused")]
_WATCH = """
window.seen = {lcp: 0, cls: 0};
new PerformanceObserver(list => { seen.lcp = list.getEntries().at(-1).startTime; })
    .observe({type: "largest-contentful-paint", buffered: true});
new PerformanceObserver(list => list.getEntries().forEach(one => { if (!one.hadRecentInput) seen.cls += one.value; }))
    .observe({type: "layout-shift", buffered: true});
"""
_SETTLES_MS = 400


class Seen(NamedTuple):
    """What a browser with an empty cache makes of a page; the stream of the control room never ends and is left out."""

    size_bytes: int
    requests: int
    lcp_ms: float
    cls: float


def seen(browser: Browser, url: str, customer: Customer, stop: Stop, device: str = "desktop") -> Seen:
    with visit(browser, url, device, refused=stop.refused) as page:
        customer.remembered_by(page, url)
        page.add_init_script(_WATCH)
        wire = page.context.new_cdp_session(page)
        finished: list[dict[str, Any]] = []
        wire.on("Network.loadingFinished", lambda told: finished.append(told))  # noqa: PLW0108 - no built-in can be a listener
        wire.send("Network.enable")
        stop.open(page, url, customer)
        page.wait_for_function("() => seen.lcp > 0")
        page.wait_for_timeout(_SETTLES_MS)
        figures: dict[str, float] = page.evaluate("seen")
        size_bytes = int(sum(one["encodedDataLength"] for one in finished))
        return Seen(size_bytes, len(finished), figures["lcp"], figures["cls"])


def server_ms(http: httpx.Client, stop: Stop, customer: Customer, rounds: int = 15) -> float:
    """The median of warm requests, from asking until the whole page is there."""
    took_ms = []
    headers = {"Accept": "text/html", "Cookie": f"cart={customer.cart_id}"}
    for _ in range(rounds + 2):
        began_s = time.perf_counter()
        http.get(stop.at(customer), headers=headers)
        took_ms.append((time.perf_counter() - began_s) * 1000)
    return statistics.median(took_ms[2:])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data") as shop, sync_playwright() as started:
        customer = Customer.of(shop.url)
        print(f"{'page':<18}{'device':<9}{'server ms':>10}{'KB':>8}{'requests':>10}{'LCP ms':>8}{'CLS':>8}")
        with open_browser(started, chromium_or_else()) as browser, httpx.Client(base_url=shop.url) as http:
            for stop in MEASURED:
                took_ms = server_ms(http, stop, customer)
                for device in DEVICES:
                    one = seen(browser, shop.url, customer, stop, device)
                    at_client = f"{one.size_bytes / 1000:>8.1f}{one.requests:>10}{one.lcp_ms:>8.0f}{one.cls:>8.3f}"
                    print(f"{stop.name:<18}{device:<9}{took_ms:>10.1f}{at_client}", flush=True)


if __name__ == "__main__":
    main()
