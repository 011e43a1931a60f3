"""Pictures of pages: taken with everything that changes by itself set to one value, and compared point by point."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from playwright.sync_api import Page

BASELINES = Path(__file__).parent / "baselines"
MADE_WITH = BASELINES / "made_with.json"
ARTEFACTS = Path(__file__).parents[2] / "test-results" / "looks"
STEP_MAX = 40  # of 255, by which a point may be darker or lighter: the edges of letters

# Times, names of orders and whatever is counted while one looks.
_SETTLE = """() => {
    const put = (selector, words) => document.querySelectorAll(selector).forEach(old => {
        const still = old.cloneNode(false);  // a clock that ticks goes on with the old one
        still.textContent = words;
        old.replaceWith(still);
    });
    put("time", "12:00");
    put(".crumbs code", "ord_1");
    document.querySelectorAll(".state").forEach(state => state.lastChild.data = " 1 Jan 2030, 12:00 UTC");
    document.activeElement.blur();
}"""


def settled(page: Page) -> bytes:
    """A picture of the window with all that changes by itself covered or set."""
    page.evaluate("document.fonts.ready")
    page.evaluate(_SETTLE)
    masks = [
        page.locator(what) for what in ("#map", "#traces", "#waterfall", "#lanes .counts", ".invariants", ".orders dd")
    ]
    return page.screenshot(animations="disabled", caret="hide", mask=masks, mask_color="#888888")


def drawn_with(page: Page) -> dict[str, Any]:
    """What a picture depends on besides the page: the browser's major version and the fonts it found."""
    browser = page.context.browser
    assert browser is not None
    wire = page.context.new_cdp_session(page)
    wire.send("DOM.enable")
    wire.send("CSS.enable")
    root = wire.send("DOM.getDocument")["root"]["nodeId"]
    fonts = set()
    for selector in ("h1", ".search button"):
        node = wire.send("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        fonts |= {font["familyName"] for font in wire.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]}
    return {"chromium": browser.version.partition(".")[0], "fonts": sorted(fonts)}


def baselines_made_with() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(MADE_WITH.read_text(encoding="utf-8"))
    return made


def save(name: str, picture: bytes, tools: dict[str, Any]) -> None:
    BASELINES.mkdir(exist_ok=True)
    Image.open(io.BytesIO(picture)).convert("RGB").save(BASELINES / f"{name}.png", optimize=True)
    MADE_WITH.write_text(json.dumps(tools, indent=2) + "\n", encoding="utf-8")


def difference(name: str, picture: bytes) -> float:
    """The share of points that differ from the baseline; where any do, both pictures and their difference are kept."""
    now = Image.open(io.BytesIO(picture)).convert("RGB")
    then = Image.open(BASELINES / f"{name}.png").convert("RGB")
    if now.size != then.size:
        return 1.0
    bands = ImageChops.difference(now, then).split()
    worst = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
    differs = worst.point(lambda step: 255 if step > STEP_MAX else 0)
    share = differs.histogram()[255] / (now.width * now.height)
    if share:
        _keep(name, then, now, differs)
    return share


def _keep(name: str, then: Image.Image, now: Image.Image, differs: Image.Image) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    marked = Image.composite(Image.new("RGB", now.size, "red"), now.convert("L").convert("RGB"), differs)
    beside = Image.new("RGB", (now.width * 3, now.height))
    for place, picture in enumerate((then, now, marked)):
        beside.paste(picture, (place * now.width, 0))
    beside.save(ARTEFACTS / f"{name}.png")
