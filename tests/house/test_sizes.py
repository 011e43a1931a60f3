"""Small functions, small files."""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.house.source import PACKAGE, ROOT, Definition, Function, code_lines, definitions, modules

FUNCTION_LINES_MAX = 50
FUNCTION_LINES_MEDIAN = 10
FILE_LINES_MAX = 400

# Files that are long for a reason; an entry that is no longer true has to go.
LONG_FOR_A_REASON: dict[str, str] = {}


def functions(*folders: Path) -> list[tuple[Definition, int]]:
    return [
        (definition, code_lines(definition.node))
        for path in modules(*folders)
        for definition in definitions(path)
        if isinstance(definition.node, Function)
    ]


def test_no_function_is_over_fifty_lines() -> None:
    long = [
        f"{definition.where}: {lines}"
        for definition, lines in functions(PACKAGE, ROOT / "examples")
        if lines > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_half_of_the_functions_are_under_ten_lines() -> None:
    assert statistics.median(lines for _, lines in functions(PACKAGE)) < FUNCTION_LINES_MEDIAN


def test_files_over_four_hundred_lines_are_listed_with_a_reason() -> None:
    long = {
        str(path.relative_to(ROOT))
        for path in modules(PACKAGE, ROOT / "examples")
        if len(path.read_text(encoding="utf-8").splitlines()) > FILE_LINES_MAX
    }
    assert long == set(LONG_FOR_A_REASON)
