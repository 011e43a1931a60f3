"""Every Python block of every page runs, in the order in which a reader meets them.

The blocks of one page share a namespace and may await at the top level. A block for programs without an
event loop, on a page that has one, stands behind the comment `<!-- without a loop -->`, which readers do
not see, and runs in a plain thread. The server addresses that a reader would put in are replaced by those
of the real servers started for the tests.
"""

from __future__ import annotations

import ast
import asyncio
import codeop
import inspect
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from django.conf import settings
from django.urls import clear_url_caches

from sdpatterns.backends.memory import MemoryBackend

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python\b[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
WITHOUT_LOOP = "<!-- without a loop -->\n"
COLUMNS_MAX = 80  # what the site shows beside its two columns without scrolling
CODE = re.compile(r"^```(?:python|toml|text|console|bash)?\b[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SERVERS = {
    "etcd://localhost:2379": "etcd_url",
    "nats://localhost:4222": "nats_url",
    "redis://localhost:6379": "valkey_url",
    "postgresql+asyncpg://localhost/shop": "postgres_url",
    "postgresql+psycopg://localhost/shop": "postgres_url",
}


class Block(NamedTuple):
    """A block of Python in a page."""

    line: int
    text: str
    without_loop: bool


def blocks(page: Path) -> list[Block]:
    """Each Python block of a page."""
    text = page.read_text()
    return [
        Block(text.count("\n", 0, m.start(1)), m.group(1), text[: m.start()].endswith(WITHOUT_LOOP))
        for m in FENCE.finditer(text)
    ]


def with_real(text: str, addresses: dict[str, str]) -> str:
    for shown, real in addresses.items():
        text = text.replace(shown, real)
    return text


def compiled(page: Path, addresses: dict[str, str]) -> list[tuple[types.CodeType, bool]]:
    """The code of each block, and whether it is for a thread without a loop."""
    found = []
    for block in blocks(page):
        tree = ast.parse(with_real(block.text, addresses))
        ast.increment_lineno(tree, block.line)
        code = compile(tree, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        found.append((code, block.without_loop))
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
        if any(code.co_flags & inspect.CO_COROUTINE for code, _ in codes):
            asyncio.run(_awaited(codes, vars(module)))
        else:
            for code, _ in codes:
                eval(code, vars(module))
    return module


async def _awaited(codes: list[tuple[types.CodeType, bool]], scope: dict[str, object]) -> None:
    for code, without_loop in codes:
        result = await asyncio.to_thread(eval, code, scope) if without_loop else eval(code, scope)
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


def too_wide(page: Path) -> list[str]:
    """Lines of code that a reader would have to scroll sideways for."""
    code = "".join(CODE.findall(page.read_text()))
    return [line for line in code.splitlines() if len(line) > COLUMNS_MAX]


def test_the_code_of_a_page_fits_its_width():
    wide = {page.relative_to(ROOT).as_posix(): too_wide(page) for page in PAGES}
    assert {page: lines for page, lines in wide.items() if lines} == {}


def test_a_block_for_a_plain_program_runs_beside_awaits(tmp_path):
    page = tmp_path / "page.md"
    plain = "import asyncio\ntry:\n    asyncio.get_running_loop()\nexcept RuntimeError:\n    seen = 1\n"
    page.write_text(f"<!-- without a loop -->\n```python\n{plain}```\n\n```python\nawait asyncio.sleep(0)\n```\n")
    assert run(page, {}).seen == 1
    page.write_text(page.read_text().removeprefix("<!-- without a loop -->\n"))
    assert not hasattr(run(page, {}), "seen")


def refused_by_the_prompt(page: Path) -> list[str]:
    """What `python -m asyncio` refuses when the blocks of a page are pasted into it."""
    compiled = codeop.CommandCompiler()
    compiled.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    refused, typed = [], ""
    for line in "\n\n".join(block.text for block in blocks(page) if not block.without_loop).splitlines():
        typed += f"{line}\n"
        try:
            typed = "" if compiled(typed.removesuffix("\n"), symbol="single") else typed
        except SyntaxError:
            refused.append(line)
            typed = ""
    return refused


def test_a_page_that_names_the_prompt_can_be_pasted_into_it():
    pages = [page for page in PAGES if "`python -m asyncio`" in page.read_text()]
    refused = {page.relative_to(ROOT).as_posix(): refused_by_the_prompt(page) for page in pages}
    assert len(pages) > 10
    assert {page: lines for page, lines in refused.items() if lines} == {}
