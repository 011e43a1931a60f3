"""Every Python block of every page runs, in the order in which a reader meets them.

The blocks of one page share a namespace and may await at the top level. The server addresses that a
reader would put in are replaced by those of the real servers started for the tests.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import clear_url_caches

from sdpatterns.backends.memory import MemoryBackend

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python\b[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SERVERS = {
    "redis://localhost:6379": "valkey_url",
    "postgresql+asyncpg://localhost/shop": "postgres_url",
    "postgresql+psycopg://localhost/shop": "postgres_url",
}


def blocks(page: Path) -> list[tuple[int, str]]:
    """The line and the text of each Python block."""
    text = page.read_text()
    return [(text.count("\n", 0, m.start(1)), m.group(1)) for m in FENCE.finditer(text)]


def _with_real(text: str, addresses: dict[str, str]) -> str:
    for shown, real in addresses.items():
        text = text.replace(shown, real)
    return text


def compiled(page: Path, addresses: dict[str, str]) -> list[types.CodeType]:
    found = []
    for line, text in blocks(page):
        tree = ast.parse(_with_real(text, addresses))
        ast.increment_lineno(tree, line)
        found.append(compile(tree, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True))
    return found


@contextmanager
def fresh() -> Iterator[types.ModuleType]:
    """An empty module that a page may run in as if it were the first: Django has one set of settings per process."""
    module = types.ModuleType("page")
    with pytest.MonkeyPatch.context() as patch:
        # Frameworks look a class up in its module, or a module up by its name.
        patch.setitem(sys.modules, "page", module)
        if settings.configured:
            patch.setattr(settings, "SDPATTERNS_BACKEND", MemoryBackend())
        clear_url_caches()
        yield module
    clear_url_caches()


def run(page: Path, addresses: dict[str, str]) -> types.ModuleType:
    """The page as a module of its own, in a loop if it awaits: what it shows for plain programs needs none."""
    codes = compiled(page, addresses)
    with fresh() as module:
        if any(code.co_flags & inspect.CO_COROUTINE for code in codes):
            asyncio.run(_awaited(codes, vars(module)))
        else:
            for code in codes:
                eval(code, vars(module))
    return module


async def _awaited(codes: list[types.CodeType], scope: dict[str, object]) -> None:
    for code in codes:
        result = eval(code, scope)
        if inspect.isawaitable(result):
            await result


def addresses(page: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    found = {}
    for shown, fixture in SERVERS.items():
        if shown in page.read_text():
            url = request.getfixturevalue(fixture)
            found[shown] = url.replace("postgresql://", shown.split("localhost")[0])
    return found


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run(page, request, tmp_path, monkeypatch):
    real = addresses(page, request)
    monkeypatch.chdir(tmp_path)
    run(page, real)


def test_a_block_that_fails_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nawait asyncio.sleep(0)\n```\n")
    with pytest.raises(NameError) as caught:
        run(page, {})
    assert caught.traceback[-1].lineno == 3
