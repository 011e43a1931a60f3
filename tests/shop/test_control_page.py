"""The control room in a real browser: a user breaks the shop there, watches it hold, and needs no mouse for it."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.machine import slowness

from .running import running
from .test_browser import chromium_or_else
from .visitor import PLENTY, checkout_body

ROOM = "/control"
PAGE_MAX_BYTES = 200_000
SCRIPT_MAX_BYTES = 25_000  # as it travels, compressed by the gateway
SERVER_MAX_S = 0.1
REFUSED = re.compile("status of 4(04|22)")
WIDTHS = (1280, 820, 390)  # desktop, tablet, phone
RUN_A_DOT = """async trace_id => {
    const { runDots } = await import("/control/static/traffic.js");
    runDots([{ at_ms: 0, kind: "checkout", status: 200, ms: 2600, trace_id, client: "" }]);
}"""
CUT = """() => [...document.querySelectorAll("#map text, #service-map text")].filter(text => {
    const inner = text.getBoundingClientRect();
    const outer = text.ownerSVGElement.getBoundingClientRect();
    return inner.width && (inner.left < outer.left - 1 || inner.right > outer.right + 1);
}).map(text => text.textContent)"""
GROW = """async button => {
    const { keepInSight } = await import("/control/static/dom.js");
    button.focus();
    keepInSight(() => document.querySelector("#invite").style.paddingTop = "900px");
    const box = button.getBoundingClientRect();
    return [box.top, box.bottom];
}"""
QUICK = Path(__file__).parents[2] / "deploy" / "chaos" / "quick.toml"
BUYERS_MAX = 200  # five calls that fail open the breaker, and two that succeed close it
HANG = {"target": "psp", "kind": "hang", "percent": 100, "ttl_s": 60, "seed": 1}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium_or_else()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, stocked: Callable[[Path], None]) -> Iterator[httpx.Client]:
    data_dir = tmp_path_factory.mktemp("shop") / "data"
    stocked(data_dir)
    with (
        running(data_dir) as shop,
        httpx.Client(base_url=shop.url, timeout=120) as http,
    ):
        yield http


@pytest.fixture(autouse=True)
def calm(shop: httpx.Client) -> Iterator[None]:
    yield
    shop.delete("/control/api/scenarios")
    shop.delete("/control/api/fault")
    shop.put("/control/api/load", json={"visitors": 0})
    for name in ("limiter", "breaker", "idempotency", "fencing"):
        shop.put(f"/control/api/switches/{name}", json={"on": True})


@contextmanager
def entered(browser: Browser, shop: httpx.Client, *, refused: int = 0, **settings: Any) -> Iterator[Page]:
    """The room, open; nothing may go wrong in it but so many refusals, and nothing be fetched from elsewhere."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **settings})
    page = context.new_page()
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(str(shop.base_url)) else None)
    try:
        page.goto(f"{shop.base_url}{ROOM}")
        yield page
    except Exception as error:  # what the page itself said is the first thing that a reader of the failure needs
        error.add_note(f"The page: {page.locator('#line').text_content()}; went wrong in it: {wrong}")
        error.add_note(f"The shop: {shop.get('/control/api/state').text}")
        raise
    finally:
        context.close()
    assert len([text for text in wrong if REFUSED.search(text)]) == refused
    assert [text for text in wrong if not REFUSED.search(text)] == []


def state(shop: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = shop.get("/control/api/state").json()
    return found


def until_all_holds(shop: httpx.Client) -> None:
    for _ in range(240):
        broken = [name for name, found in state(shop)["invariants"].items() if not found["holds"]]
        if not broken:
            return
        time.sleep(0.5)
    raise AssertionError(f"{broken} do not hold")


def card(page: Page, title: str) -> Locator:
    return page.get_by_role("article", name=title)


def box(page: Page, name: str) -> Locator:
    return page.locator(f"#map .box[data-key={name}]")


def follow_focus(page: Page) -> str:
    """What the keyboard is at."""
    found: str = page.evaluate(
        "(at => at.getAttribute('aria-label') || at.name || at.textContent.trim() || at.id)(document.activeElement)"
    )
    return found


def test_a_switch_is_changed_and_its_card_shows_it(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop) as page:
        its_card = card(page, "Circuit breaker")
        switch = its_card.get_by_role("switch")
        expect(switch).to_be_checked()
        switch.click()
        expect(page.locator("#said")).to_have_text("Circuit breaker is off")
        expect(its_card).to_have_attribute("data-on", "false")
        expect(its_card).to_contain_text("Off since")
        expect(switch).not_to_be_checked()
        assert state(shop)["defences"]["breaker"]["on"] is False
        switch.click()
        expect(its_card).to_have_attribute("data-on", "true")
        assert state(shop)["defences"]["breaker"]["on"] is True


def test_a_fault_is_begun_seen_on_the_map_and_healed(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop) as page:
        page.get_by_label("Target").select_option("catalog")
        assert page.get_by_label("Kind").locator("option:not([hidden])").count() == 3
        page.get_by_label("Kind").select_option("slow")
        page.get_by_label("Calls, %").fill("40")
        page.get_by_role("button", name="Break it", exact=True).click()
        faults = page.get_by_role("list", name="Running faults")
        expect(faults).to_contain_text(re.compile(r"catalog: slow, 40 %, \d+ s left"))
        expect(box(page, "catalog")).to_have_attribute("data-is", "fault")
        expect(box(page, "catalog").locator(".fault")).to_contain_text("⚡ slow 40 %")
        assert [fault["target"] for fault in state(shop)["faults"]] == ["catalog"]

        page.get_by_role("button", name="Heal catalog").click()
        expect(faults.get_by_role("listitem")).to_have_count(0)
        expect(box(page, "catalog")).not_to_have_attribute("data-is", "fault")
        assert state(shop)["faults"] == []


def test_a_refusal_is_explained_on_the_page(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop, refused=1) as page:
        page.evaluate("document.querySelector('#fault').noValidate = true")
        page.get_by_label("Lasts, s").fill("9999")
        page.get_by_role("button", name="Break it", exact=True).click()
        expect(page.locator("#said")).to_contain_text("/ttl_s: must be")
        assert state(shop)["faults"] == []


def test_a_scenario_shows_its_progress_and_can_be_stopped(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop) as page:
        page.get_by_role("button", name="Start: Double click").click()
        story = page.locator("#story")
        expect(story).to_be_visible()
        expect(story.get_by_role("heading")).to_have_text("Double click")
        caption = page.locator("#story-caption")
        expect(caption).not_to_be_empty()
        first = caption.inner_text()
        expect(caption).not_to_have_text(first, timeout=90_000)
        if not state(shop)["scenario"]["ended"]:
            story.get_by_role("button", name="Stop").click()
        expect(story.get_by_role("button", name="Close")).to_be_visible()
        assert state(shop)["scenario"]["ended"]
        story.get_by_role("button", name="Close").click()
        expect(story).to_be_hidden()


@pytest.mark.nightly
def test_a_scenario_that_another_client_began_shows_what_holds(browser: Browser, shop: httpx.Client) -> None:
    fast = {"pace": 50, "size": 0.1}
    assert shop.post("/control/api/scenarios/payment-provider-dies", json=fast).status_code == 202
    page = browser.new_page()  # on a busy machine its stream breaks off now and then, and begins again
    page.goto(f"{shop.base_url}{ROOM}", timeout=60_000)
    held_or_busy = page.locator("#expectations [data-is=held], #story[data-is=broken] #story-title")
    expect(held_or_busy.first).to_be_visible(timeout=240_000)
    shop.delete("/control/api/scenarios")
    until_all_holds(shop)
    page.close()


@pytest.mark.nightly
def test_a_trace_opens_as_a_waterfall(browser: Browser, shop: httpx.Client) -> None:
    shop.get("/products")
    with entered(browser, shop) as page:
        page.get_by_role("list", name="Recent traces").get_by_role("button", name=re.compile("products")).first.click()
        fall = page.locator("#waterfall")
        expect(fall.get_by_role("table")).to_contain_text("catalog")
        bars = fall.locator(".bar i").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)")
        assert len(bars) >= 2
        assert max(bars) == bars[0], "the request lasts as long as everything in it"
        first = fall.get_by_role("button").first
        expect(first).to_have_attribute("aria-expanded", "false")
        first.click()
        expect(fall).to_contain_text(re.compile("span[0-9a-f]{16}"))
        assert re.search("#trace=[0-9a-f]{32}$", page.url)

        page.reload()
        expect(page.locator("#waterfall").get_by_role("table")).to_contain_text("catalog")


def test_the_focus_stays_on_the_screen_when_parts_above_it_grow(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop) as page:
        button = page.get_by_role("button", name="Start: Double click")
        there = button.bounding_box()
        assert there is not None
        height = int(there["y"] + there["height"]) + 5  # it is the last thing on the screen, and nothing has scrolled
        page.set_viewport_size({"width": 1280, "height": height})
        top, bottom = button.evaluate(GROW)
        assert 0 <= top < bottom <= height


@pytest.mark.nightly
def test_a_click_on_a_dot_opens_its_trace(browser: Browser, shop: httpx.Client) -> None:
    shop.get("/products")
    while not (traces := shop.get("/control/api/traces").json()):  # a gateway that is slow to answer is left out
        time.sleep(0.2)
    trace_id = traces[0]["trace_id"]
    with entered(browser, shop) as page:
        canvas = page.locator("#dots")
        area = canvas.bounding_box()
        assert area is not None
        there = {"x": area["width"] * 0.6, "y": area["height"] * 4.5 / 6}
        for turn in range(120):
            if turn % 12 == 0:  # on a busy machine one may have passed before the first click
                page.evaluate(RUN_A_DOT, trace_id)
            canvas.click(position=there)
            if "#trace=" in page.url:
                break
        assert page.url.endswith(trace_id)


@pytest.mark.nightly
def test_an_order_is_shown_in_lanes_and_as_it_was_after_each_event(browser: Browser, shop: httpx.Client) -> None:
    shop.put(f"/api/v1/carts/lanes/items/{PLENTY}", json={"quantity": 1})
    bought = shop.post("/api/v1/checkout", json=checkout_body("lanes"), headers={"Idempotency-Key": '"lanes"'})
    order_id = bought.json()["order_id"]
    with entered(browser, shop, refused=1) as page:
        newest = page.get_by_role("list", name="Newest orders")
        newest.get_by_role("button", name=order_id).first.click()
        steps = page.get_by_role("region", name=f"Steps of {order_id}")
        expect(steps.get_by_role("row")).to_have_count(5)
        expect(steps).to_contain_text("payments")
        assert page.locator(".swim li b").all_inner_texts() == ["cart", "inventory", "payments"]
        slider, then = (
            page.get_by_role("slider", name="The order as it was after each event"),
            page.locator("#event-then"),
        )
        expect(then).to_contain_text("Paid")
        slider.focus()
        page.keyboard.press("Home")
        expect(then).to_contain_text("Pending")
        log = page.get_by_role("region", name="Log of an order")
        log.get_by_label("Id", exact=True).fill(order_id)
        log.get_by_role("button", name="Search").click()
        expect(log.get_by_role("row", name="order paid")).to_contain_text("ordering")
        expect(log.get_by_role("row", name="charge booked")).to_contain_text("psp")
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

        page.get_by_label("Order", exact=True).fill("no-such-order")
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.locator("#order-way").get_by_role("alert")).to_contain_text("no such history")


@pytest.mark.nightly
def test_visitors_are_added_with_the_load_setting_and_shown(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop) as page:
        dial = page.get_by_role("slider", name="Visitors")
        dial.fill("8")
        expect(box(page, "visitors")).to_contain_text("8 inside")
        expect(page.locator("#lanes [data-key=api] .counts")).to_have_text(re.compile("[1-9]"), timeout=90_000)
        expect(box(page, "gateway").locator(".rate")).to_have_text(re.compile(r"[1-9]"), timeout=90_000)
        assert page.locator("#dots").evaluate(
            "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(part => part)"
        )
        assert state(shop)["load"] == {"visitors": 8}


def buy_until(shop: httpx.Client, wanted: str) -> None:
    """Let customers buy, one after the other, until the breaker is like that."""
    for number in range(BUYERS_MAX):
        if state(shop)["breaker"].get("state") == wanted:
            return
        name = f"{wanted}-{number}"
        shop.put(f"/api/v1/carts/{name}/items/{PLENTY}", json={"quantity": 1})
        shop.post("/api/v1/checkout", json=checkout_body(name), headers={"Idempotency-Key": f'"{name}"'})
    pytest.fail(f"the breaker is not {wanted} after {BUYERS_MAX} customers")


@pytest.mark.nightly
def test_the_breaker_is_drawn_open_while_it_is(browser: Browser, shop: httpx.Client) -> None:
    buy_until(shop, "closed")  # an earlier test may have left it half open
    with entered(browser, shop) as page:
        lever = page.locator("#map .lever")
        expect(lever).to_have_attribute("data-is", "closed")
        shop.put("/control/api/fault", json={**HANG, "kind": "fail", "ttl_s": 600})
        buy_until(shop, "open")
        expect(lever).to_have_attribute("data-is", "open")
        expect(lever).to_contain_text("open")
        expect(page.locator("#edges [data-key='payments/psp']")).to_contain_text("open")


@pytest.mark.nightly
def test_everything_can_be_done_by_keyboard(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop) as page:
        expect(box(page, "catalog")).to_have_attribute("role", "button")
        page.keyboard.press("Tab")
        assert follow_focus(page) == "Skip to the control room"
        page.keyboard.press("Enter")
        seen: list[str] = []
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.append(follow_focus(page))
            if seen[-1].startswith("visitors"):
                page.keyboard.press("ArrowRight")
            if page.locator("#map .box[data-key=catalog]:focus").count():
                page.keyboard.press("Enter")
                break
        expect(box(page, "visitors")).to_contain_text("1 inside")
        assert follow_focus(page) == "kind"
        assert page.get_by_label("Target").input_value() == "catalog"
        page.keyboard.press("Tab")
        page.keyboard.type("10")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Heal catalog")).to_be_visible()

        switch = card(page, "Limiter").get_by_role("switch")
        switch.focus()
        page.keyboard.press("Space")
        expect(switch).not_to_be_checked()
        expect(switch).to_be_focused()


@pytest.mark.nightly
def test_a_game_day_is_held_from_the_page(browser: Browser, shop: httpx.Client) -> None:
    until_all_holds(shop)  # a scenario that an earlier test stopped may have orders that are being cancelled
    with entered(browser, shop) as page:
        page.get_by_label("Experiment").set_input_files(QUICK)
        page.get_by_role("button", name="Hold it").click()
        expect(page.locator("#game-day-result")).to_have_text("Ended: held", timeout=240_000)
        expect(page.locator("#game-day-told")).to_contain_text("The faults are withdrawn")
        expect(page.locator("#game-day-checks")).to_contain_text("✓ a customer who buys has an answer (1)")


@pytest.mark.nightly
def test_invariants_explain_themselves_on_hover_and_focus(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop) as page:
        pills = page.locator("#invariants li")
        expect(pills).to_have_count(len(state(shop)["invariants"]))
        why = pills.nth(3).get_by_role("tooltip")
        expect(why).to_be_hidden()
        pills.nth(3).get_by_role("button").focus()
        expect(why).to_be_visible()
        expect(why).to_contain_text("received")
        pills.first.hover()
        expect(pills.first.get_by_role("tooltip")).to_contain_text("paid orders")


def test_reduced_motion_shows_figures(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop, reduced_motion="reduce") as page:
        page.get_by_role("slider", name="Visitors").fill("8")
        expect(page.locator("#lanes [data-key=api] .counts")).to_have_text(re.compile("[1-9]"), timeout=90_000)
        expect(page.locator("#dots")).to_be_hidden()
        assert page.evaluate("document.getAnimations().length") == 0


def test_the_tables_say_what_the_map_says(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop) as page:
        page.get_by_role("link", name="as a table").click()
        services = page.get_by_role("table", name="Services and their replicas")
        expect(services).to_be_visible()
        told = {(one["name"], str(one["replica"])) for one in state(shop)["services"]}
        rows = services.locator("tbody th").all_inner_texts()
        assert {tuple(row.split(" ")) for row in rows} == told
        page.get_by_role("slider", name="Visitors").fill("8")
        expect(page.get_by_role("table", name="Calls between them")).to_contain_text("gateway → catalog")


def test_without_a_script_the_page_tells_its_state(browser: Browser, shop: httpx.Client) -> None:
    with entered(browser, shop, java_script_enabled=False) as page:
        assert page.locator("#invariants li").count() == len(state(shop)["invariants"])
        expect(card(page, "Idempotency")).to_contain_text("customers charged twice")
        page.locator("summary", has_text="as tables").click()
        expect(page.get_by_role("table", name="Services and their replicas")).to_contain_text("payments")


@pytest.mark.nightly
def test_nothing_is_wider_than_the_window_while_it_burns(browser: Browser, shop: httpx.Client) -> None:
    shop.put("/control/api/fault", json=HANG)
    shop.put("/control/api/load", json={"visitors": 4})
    with entered(browser, shop) as page:
        expect(box(page, "psp")).to_have_attribute("data-is", "fault")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 844})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, scheme
                assert page.evaluate(CUT) == [], (width, scheme)


@pytest.mark.nightly
def test_a_lost_connection_is_shown_and_opened_again(browser: Browser, shop: httpx.Client) -> None:
    page = browser.new_page()
    page.route("**/control/live", lambda route: route.abort())
    page.goto(f"{shop.base_url}{ROOM}")
    line = page.locator("#line")
    expect(line).to_have_text(re.compile(r"connection lost, trying again; as of \d+ s ago"), timeout=90_000)
    expect(page.locator("body")).to_have_attribute("data-old", "true")
    page.unroute("**/control/live")
    expect(line).to_have_text("live", timeout=90_000)
    expect(page.locator("body")).to_have_attribute("data-old", "false")
    page.close()


def test_the_page_is_small_and_quick(shop: httpx.Client) -> None:
    page = shop.get(ROOM)
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert not re.search(r"\sstyle=|<script>|\son\w+=", page.text)
    parts = set(re.findall(r'(?:src|href)="(/(?:control/)?static/[^"]+)"', page.text))
    script = shop.get("/control/static/control.js").text
    modules = {f"/control/static/{name}" for name in re.findall(r'from "\./(\w+\.js)"', script)}
    parts |= modules | {"/control/static/control.js"}
    travels = {path: shop.get(path).num_bytes_downloaded for path in parts}
    assert sum(size for path, size in travels.items() if path.endswith(".js")) < SCRIPT_MAX_BYTES
    assert sum(travels.values()) + len(page.content) < PAGE_MAX_BYTES
    took_s = []
    for _ in range(20):
        began_s = time.perf_counter()
        shop.get(ROOM)
        took_s.append(time.perf_counter() - began_s)
    assert statistics.median(took_s) < SERVER_MAX_S * slowness()
