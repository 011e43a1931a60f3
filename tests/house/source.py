"""The tree as the house rules see it: tracked files, modules, functions."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "sdpatterns"

Function = ast.FunctionDef | ast.AsyncFunctionDef
_HOLDS_STATEMENTS = (ast.stmt, ast.ExceptHandler, ast.match_case)
"""No function and no class stands in an expression."""


@dataclass(frozen=True)
class Definition:
    """One function or class, where it stands and what stands around it."""

    path: Path
    name: str
    """With the names of what it stands in: `Outer.method`."""
    node: Function | ast.ClassDef
    inside_function: bool

    @property
    def is_public(self) -> bool:
        return not self.inside_function and not any(part.startswith("_") for part in self.name.split("."))

    @property
    def decorators(self) -> list[str]:
        return [ast.unparse(decorator) for decorator in self.node.decorator_list]

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.node.lineno} {self.name}"


def modules(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders or (PACKAGE,) for path in folder.rglob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def is_public_module(path: Path) -> bool:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return not any(part.startswith("_") and part != "__init__" for part in parts)


@functools.cache
def definitions(path: Path) -> Sequence[Definition]:
    return tuple(_below(parsed(path), path, (), inside_function=False))


def called(node: ast.Call) -> str:
    """The last name of what is called: `raises` of `pytest.raises(...)`."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _below(node: ast.AST, path: Path, names: tuple[str, ...], *, inside_function: bool) -> Iterator[Definition]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            inner = (*names, child.name)
            yield Definition(path, ".".join(inner), child, inside_function)
            within = inside_function or isinstance(child, Function)
            yield from _below(child, path, inner, inside_function=within)
        elif isinstance(child, _HOLDS_STATEMENTS):
            yield from _below(child, path, names, inside_function=inside_function)


def code_lines(node: Function) -> int:
    """Lines from `def` to the end, without the docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def tracked_texts() -> Iterator[tuple[Path, str]]:
    """Every file under version control that is text."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listing.stdout.split("\0"):
        path = ROOT / name
        if name and path.is_file():
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
