"""Code in the pages, taken from the files it lives in: a page cannot show what is not there any more.

A line `{{ source examples/shop/ordering/defences.py checkout_once }}` becomes that function, class, method
(`Runner.forward`) or assignment, as it stands in the file; several names are shown one after another.
Lines that are too wide for a page are broken as ruff does it. `{{ drawing pipeline }}` becomes the drawing
`docs/drawings/pipeline.svg`, in the colours of the page.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COLUMNS_MAX = 80
_LINE = re.compile(r"^\{\{ (source|drawing) (.+?) \}\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What mkdocs calls with every page."""
    return _LINE.sub(lambda match: _MADE[match[1]](*match[2].split()), markdown)


def source(path: str, *names: str) -> str:
    """A block of code with the named things of a file; LookupError for one that is not there."""
    text = (ROOT / path).read_text(encoding="utf-8")
    parts = [_part(text, name, path) for name in names]
    return (
        f'```python title="{path}"\n' + _fitted("\n\n\n".join(parts)) + "\n```"
    )


def drawing(name: str) -> str:
    """A drawing inside the page."""
    return f'<figure class="drawing">\n{(ROOT / "docs" / "drawings" / f"{name}.svg").read_text().strip()}\n</figure>'


def _fitted(code: str) -> str:
    """The same code with shorter lines: the files have up to 120 columns, a page shows 80."""
    if all(len(line) <= COLUMNS_MAX for line in code.splitlines()):
        return code
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "format",
        "--isolated",
        f"--line-length={COLUMNS_MAX}",
        "-",
    ]
    return subprocess.run(
        ruff, input=code, check=True, capture_output=True, text=True
    ).stdout.rstrip()


_MADE = {"source": source, "drawing": drawing}


def _part(text: str, name: str, path: str) -> str:
    body = ast.parse(text).body
    node: ast.stmt | None = None
    for word in name.split("."):
        node = next(
            (statement for statement in body if word in _names(statement)), None
        )
        if node is None:
            raise LookupError(f"there is no {name} in {path}")
        body = getattr(node, "body", [])
    assert node is not None
    first = min(
        [
            node.lineno,
            *(
                decorator.lineno
                for decorator in getattr(node, "decorator_list", [])
            ),
        ]
    )
    lines = text.splitlines()[first - 1 : node.end_lineno]
    return "\n".join(line[node.col_offset :] for line in lines)


def _names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(
        statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ):
        yield statement.name
    elif isinstance(statement, ast.Assign):
        yield from (
            name.id
            for target in statement.targets
            for name in ast.walk(target)
            if isinstance(name, ast.Name)
        )
    elif isinstance(statement, ast.AnnAssign) and isinstance(
        statement.target, ast.Name
    ):
        yield statement.target.id
