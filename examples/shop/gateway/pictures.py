"""A picture for each product, drawn from what it is: the thing, its material, its maker, its mood."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from shop.catalog.domain import categories, makers


class Tones(NamedTuple):
    """A material in the middle, in shadow and in light."""

    middle: str
    dark: str
    light: str


class Mood(NamedTuple):
    """The colours around a thing: the wall, the floor, a second tone, an accent."""

    wall: str
    floor: str
    second: str
    accent: str


_MATERIALS = {
    "Oak": Tones("#c1945c", "#8a6236", "#dcb684"),
    "Linen": Tones("#cfc3a9", "#998c70", "#ebe3d0"),
    "Wool": Tones("#d9cdbb", "#a39580", "#f1e9dc"),
    "Cotton": Tones("#a9b7bd", "#75868e", "#d6e0e4"),
    "Brass": Tones("#c99b3b", "#8d6a1f", "#ecca78"),
    "Clay": Tones("#b9694a", "#81432c", "#d8947a"),
    "Cork": Tones("#b98a5e", "#81592f", "#d6b18a"),
    "Glass": Tones("#8fb9b8", "#56868a", "#d3e9e6"),
    "Steel": Tones("#8d979d", "#59646b", "#c3ccd0"),
    "Ash": Tones("#d8bd92", "#a3865a", "#efdcbb"),
    "Slate": Tones("#596770", "#343f47", "#83939c"),
    "Walnut": Tones("#76503a", "#452b1d", "#a27858"),
}
_MOODS = {
    "Quiet": Mood("#e4e6df", "#d0d3c8", "#d4d9d0", "#7c8f80"),
    "Nordic": Mood("#dce7ec", "#c2d2da", "#c9dae2", "#3d6f8e"),
    "Bright": Mood("#fbe9b7", "#f0d58b", "#f7d97c", "#d9603b"),
    "Slow": Mood("#e8dfeb", "#d3c5d9", "#d9cbe0", "#7a5c8e"),
    "Amber": Mood("#f7ddb4", "#e9c48c", "#f0c788", "#b8541f"),
    "Gentle": Mood("#eedfd8", "#dec7bc", "#e6cdc1", "#a24b48"),
    "Coastal": Mood("#d3e8e4", "#b5d4cd", "#b9dcd6", "#2b7a78"),
    "Plain": Mood("#eee9dd", "#dcd4c1", "#e2dac7", "#5c6b4a"),
    "Midnight": Mood("#3c4763", "#2d3650", "#4d5a7c", "#e0a458"),
    "Russet": Mood("#f1d5c4", "#dfb79f", "#e8bfa5", "#8c3f2b"),
    "Early": Mood("#f8e0dc", "#eec6c0", "#f4cdc2", "#c75b6d"),
    "Wild": Mood("#dbe6c6", "#c1d3a3", "#c8daa9", "#b0482f"),
}
# What stands behind a thing, a style of its own for each maker.
_BACKDROPS = (
    '<circle cx="108" cy="42" r="30" fill="{s}"/>',
    '<path d="M40 98V58a40 40 0 0 1 80 0v40z" fill="{s}"/>',
    '<path d="M96 8h44v56H96z" fill="{s}"/><path d="M118 8v56M96 36h44" stroke="{w}" stroke-width="3"/>',
    '<path d="M0 72q26-26 54-10t58-16 48 6v46H0z" fill="{s}"/><circle cx="36" cy="30" r="10" fill="{a}" opacity=".5"/>',
    '<path d="M0 0h20v98H0zM40 0h20v98H40zM80 0h20v98H80zM120 0h20v98h-20z" fill="{s}" opacity=".6"/>',
    '<circle cx="80" cy="60" r="54" fill="{s}" opacity=".55"/><circle cx="80" cy="60" r="36" fill="{w}" opacity=".7"/>',
    '<path d="M18 98V40q0-14 11-14t11 14v58zM120 98V30q0-12 10-12t10 12v68z" fill="{s}"/>',
    '<path d="M0 0h160L0 98z" fill="{s}" opacity=".7"/><circle cx="132" cy="26" r="9" fill="{a}" opacity=".45"/>',
)
# Each thing stands on y = 98 around x = 80 in a window of 160 × 120, drawn in its material {m}, that in shadow {d}
# and in light {l}, the accent of the mood {a} and a glow {g}.
_THINGS = {
    path.stem: path.read_text(encoding="utf-8").replace("\n", "")
    for path in (Path(__file__).parent / "drawings").glob("*.svg")
}
_GLOW = "#fff3c4"
_SHOWN = {  # what stands for a whole category
    "Lighting": ("Pendant Light", "Amber", "Brass"),
    "Kitchen": ("Teapot", "Coastal", "Clay"),
    "Textiles": ("Cushion", "Early", "Linen"),
    "Stationery": ("Notebook", "Nordic", "Walnut"),
    "Outdoor": ("Rucksack", "Wild", "Cork"),
    "Audio": ("Turntable", "Slow", "Oak"),
}


def picture(product: Mapping[str, Any]) -> Markup:
    """The picture of a product; the same on every page, and named by its title beside it."""
    _, _, name = product["title"].rpartition(": ")
    adjective, _, rest = name.partition(" ")
    material, _, noun = rest.partition(" ")
    return _scene(noun, adjective, material, _place(product["maker"]))


def emblem(category: str) -> Markup:
    """The picture of a whole category."""
    noun, adjective, material = _SHOWN[category]
    return _scene(noun, adjective, material, categories().index(category))


def _place(maker: str) -> int:
    return makers().index(maker) if maker in makers() else 0


@lru_cache(maxsize=512)
def _scene(noun: str, adjective: str, material: str, backdrop: int) -> Markup:
    mood = _MOODS.get(adjective, _MOODS["Plain"])
    tones = _MATERIALS.get(material, _MATERIALS["Oak"])
    behind = _BACKDROPS[backdrop % len(_BACKDROPS)].format(w=mood.wall, s=mood.second, a=mood.accent)
    thing = _THINGS.get(noun.lower().replace(" ", "-"), "").format(
        m=tones.middle, d=tones.dark, l=tones.light, a=mood.accent, g=_GLOW
    )
    return Markup(  # noqa: S704 - made of the constants above alone
        f'<svg class="art" viewBox="0 0 160 120" aria-hidden="true" focusable="false">'
        f'<path d="M0 0h160v120H0z" fill="{mood.wall}"/>{behind}<path d="M0 98h160v22H0z" fill="{mood.floor}"/>'
        f'<ellipse cx="80" cy="100" rx="46" ry="4" opacity=".18"/>{thing}</svg>'
    )


def stars(average: float) -> Markup:
    """Five stars, filled as far as the average goes."""
    width = round(average / 5 * 100)
    row = '<path d="m10 2 2.500 5.300 5.800.700-4.300 4 1.100 5.800L10 15l-5.100 2.800L6 12 1.700 8l5.800-.700z"/>'
    five = "".join(f'<g transform="translate({20 * place})">{row}</g>' for place in range(5))
    return Markup(  # noqa: S704 - made of numbers alone
        f'<svg class="stars" viewBox="0 0 100 20" aria-hidden="true" focusable="false"><g class="unlit">{five}</g>'
        f'<svg width="{escape(width)}" height="20" viewBox="0 0 {escape(width)} 20">{five}</svg></svg>'
    )
