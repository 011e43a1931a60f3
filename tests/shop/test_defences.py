"""What the tutorial says of `defences.py`: the patterns and nothing else, each put in place by one or two lines."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
TUTORIAL = ROOT / "docs" / "tutorial"
LINES_MAX = 40
CLAIM = "one or two lines"

FILES = sorted([SHOP / "defences.py", *SHOP.glob("*/defences.py")])
NAMES = {path: path.relative_to(ROOT).as_posix() for path in FILES}


def defences(path: Path) -> list[ast.FunctionDef]:
    return [part for part in ast.parse(path.read_text()).body if isinstance(part, ast.FunctionDef)]


def work(function: ast.FunctionDef) -> list[ast.stmt]:
    """The statements of a function after its docstring."""
    return function.body[ast.get_docstring(function) is not None :]


def lines_of_code(path: Path) -> int:
    """The lines of a file that are neither blank, nor a comment, nor part of a docstring."""
    text = path.read_text()
    tree = ast.parse(text)
    told = {
        line
        for part in [tree, *defences(path)]
        if ast.get_docstring(part) is not None
        for line in range(part.body[0].lineno, (part.body[0].end_lineno or 0) + 1)
    }
    rows = enumerate(text.splitlines(), 1)
    return sum(number not in told and bool(row.strip()) and not row.strip().startswith("#") for number, row in rows)


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def uses(name: str, path: Path) -> list[int]:
    """The lines of the code around a file of defences that name one of them, imports aside."""
    around = path.parent.glob("*.py")
    trees = [ast.parse(file.read_text()) for file in around if file != path]
    named = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    return [node.lineno for node in named if name == (node.id if isinstance(node, ast.Name) else node.attr)]


def shown(page: str) -> set[tuple[str, str]]:
    """The file and the name of each piece of code on a page."""
    included = re.findall(r"^\{\{ source (\S+) (.+?) \}\}$", page, re.MULTILINE)
    return {(path, name) for path, names in included for name in names.split()}


def test_each_context_that_has_a_pattern_has_a_short_file_of_them() -> None:
    assert {path.parent.name for path in FILES} >= {"shop", "gateway", "ordering", "payments", "fulfilment"}
    assert {NAMES[path]: count for path in FILES if (count := lines_of_code(path)) > LINES_MAX} == {}


def test_a_file_of_defences_has_no_switch_and_no_view() -> None:
    banned = re.compile(r"shop\.(stage|service_app)|starlette\.(routing|requests|responses)")
    assert [NAMES[path] for path in FILES if any(banned.match(module) for module in imported(path))] == []
    assert [NAMES[path] for path in FILES if re.search(r"[Ss]witch|control room", path.read_text())] == []


def test_a_pattern_is_made_nowhere_else_in_a_context() -> None:
    made = re.compile(
        r"\b(Bulkhead|CircuitBreaker|Election|Fallback|FencedRows|Idempotency|Inbox|Jobs|Lease|Outbox|Pipeline|RateLimiter|Relay|Retry|Timeout|Worker)\("
    )
    contexts = [path for path in SHOP.glob("*/*.py") if path.parent.name != "stage"]
    assert [str(path) for path in contexts if path not in FILES and made.search(path.read_text())] == []


def test_each_defence_is_one_or_two_statements() -> None:
    sizes = {f"{NAMES[path]} {each.name}": len(work(each)) for path in FILES for each in defences(path)}
    assert sizes
    assert {name: size for name, size in sizes.items() if size not in (1, 2)} == {}


def test_each_defence_is_put_in_place_by_one_or_two_lines() -> None:
    counts = {f"{NAMES[path]} {each.name}": len(uses(each.name, path)) for path in FILES for each in defences(path)}
    assert {name: count for name, count in counts.items() if count not in (1, 2)} == {}


def test_the_tutorial_claims_that_and_shows_each_defence_on_a_page() -> None:
    assert CLAIM in " ".join((TUTORIAL / "index.md").read_text().split())
    pages = set().union(*(shown(page.read_text()) for page in TUTORIAL.glob("*.md")))
    missing = [(NAMES[path], each.name) for path in FILES for each in defences(path)]
    assert [pair for pair in missing if pair not in pages] == []


def test_the_readme_leads_to_each_file_of_defences_in_about_forty_lines() -> None:
    readme = (SHOP / "README.md").read_text()
    assert len(readme.splitlines()) <= 45
    links = re.findall(r"\]\(([^)]+)\)", readme)
    assert [link for link in links if not (SHOP / link).exists()] == []
    assert {path.relative_to(SHOP).as_posix() for path in FILES} <= set(links)
