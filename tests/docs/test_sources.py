"""Code and drawings in the pages come from files, and a page cannot name what is not there."""

from __future__ import annotations

import importlib.util
import inspect
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import sdpatterns

DOCS = Path(__file__).parents[2] / "docs"
_spec = importlib.util.spec_from_file_location("sources", DOCS / "sources.py")
assert _spec is not None
assert _spec.loader is not None
sources = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sources)

PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "{{ " in page.read_text()]
DRAWINGS = sorted((DOCS / "drawings").glob("*.svg"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_finds_what_it_shows(page: Path) -> None:
    made = sources.on_page_markdown(page.read_text())
    assert "{{ " not in made


def test_code_is_shown_as_it_stands_with_its_decorators() -> None:
    shown = sources.source("docs/sources.py", "on_page_markdown", "ROOT")
    assert shown.startswith('```python title="docs/sources.py"\ndef on_page_markdown(')
    assert shown.endswith("ROOT = Path(__file__).resolve().parents[1]\n```")
    shown = sources.source("tests/docs/test_sources.py", "test_a_page_finds_what_it_shows")
    assert shown.splitlines()[1].startswith("@pytest.mark.parametrize")


@pytest.mark.parametrize("name", ["nothing", "on_page_markdown.nothing", "ROOT.x"])
def test_what_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(LookupError):
        sources.source("docs/sources.py", name)


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_whole_says_what_it_shows_and_is_shown(drawing: Path) -> None:
    root = ET.fromstring(drawing.read_text())
    assert root.get("aria-label")
    assert any(f"{{{{ drawing {drawing.stem} }}}}" in page.read_text() for page in PAGES)


def test_each_setting_of_a_pattern_has_its_meaning_on_its_page() -> None:
    spec = importlib.util.spec_from_file_location("parameters", DOCS / "parameters.py")
    assert spec is not None
    assert spec.loader is not None
    parameters = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parameters)
    missing = [
        f"{pattern}: {name}"
        for pattern, page in parameters.PAGES.items()
        for name in inspect.signature(getattr(sdpatterns, pattern)).parameters
        if name not in {**parameters.EVERYWHERE, **parameters.settings(page)}
    ]
    assert missing == []
