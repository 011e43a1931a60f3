"""The concept map: its 41 rows, its links, and that no row claims more than it links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "concepts.md"
IDS = [
    *(f"1.{n}" for n in range(1, 5)),
    *(f"2.{n}" for n in range(1, 5)),
    *(f"3.{n}" for n in range(1, 5)),
    *(f"4.{n}" for n in range(1, 5)),
    *(f"5.{n}" for n in range(1, 5)),
    *(f"6.{n}" for n in range(1, 5)),
    *(f"7.{n}" for n in range(1, 5)),
    *(f"8.{n}" for n in range(1, 5)),
    *(f"9.{n}" for n in range(1, 6)),
    *(f"10.{n}" for n in range(1, 5)),
]


class Row(NamedTuple):
    id: str
    concept: str
    state: str
    library: str
    shop: str
    test: str
    page: str


def rows() -> list[Row]:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d", line)]
    return [Row(*(cell.strip() for cell in line.split("|")[1:-1])) for line in lines]


def missing(row: Row) -> list[str]:
    """The links of a row that lead nowhere."""
    code = [ROOT / path for path in re.findall(r"`([^`]+)`", " ".join(row[3:6]))]
    pages = [PAGE.parent / path for path in re.findall(r"\]\(([^)#]+)", row.page)]
    return [str(path) for path in [*code, *pages] if not path.exists()]


def doubts(row: Row) -> list[str]:
    """What is wrong with a row."""
    links = row[3:]
    if row.state == "open":
        return ["an open row links something"] if any(links) else []
    if row.state == "whole" and not all(links):
        return ["a whole row lacks a link"]
    if row.state not in {"part", "whole"} or not any(links):
        return [f"state {row.state!r} without a link"]
    return [f"no such file: {path}" for path in missing(row)]


def test_the_map_has_the_41_rows_in_order():
    assert [row.id for row in rows()] == IDS


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.id)
def test_a_row_links_what_it_claims(row):
    assert doubts(row) == []


def test_a_row_that_claims_too_much_is_found():
    assert doubts(Row("1.1", "x", "whole", "`src`", "", "`tests`", "")) != []
    assert doubts(Row("1.1", "x", "part", "`src/nowhere.py`", "", "", "")) != []
    assert doubts(Row("1.1", "x", "open", "`src`", "", "", "")) != []
    assert doubts(Row("1.1", "x", "done", "`src`", "", "", "")) != []
