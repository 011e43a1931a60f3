"""The roadmap: 41 concepts, and no row says more than what can be read about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "roadmap.md"
OF_THE_SHOP = {"how-to/chart.md", "how-to/deploy-the-shop.md", "how-to/mesh-or-library.md"}
GROUPS = [4, 4, 4, 4, 4, 4, 4, 4, 5, 4]


class Row(NamedTuple):
    concept: str
    state: str
    read: str


def groups() -> list[list[Row]]:
    """The rows below each heading."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return [
        [
            Row(*(cell.strip() for cell in line.split("|")[1:-1]))
            for line in re.findall(r"^\|.+\|$", section, re.MULTILINE)[2:]
        ]
        for section in sections
    ]


def doubts(row: Row) -> list[str]:
    """What is wrong with a row."""
    links = re.findall(r"\]\(([^)#]+)", row.read)
    if row.state not in {"available", "in the shop", "planned"}:
        return [f"{row.concept}: there is no state {row.state!r}"]
    if (row.state == "planned") == bool(links):
        return [f"{row.concept} is {row.state} and links {links}"]
    if row.state == "in the shop" and not all(link.startswith("tutorial/") or link in OF_THE_SHOP for link in links):
        return [f"{row.concept} is in the shop, and its page is not about the shop"]
    return [f"{row.concept}: there is no {link}" for link in links if not (PAGE.parent / link).exists()]


def test_the_roadmap_has_the_41_concepts() -> None:
    assert [len(rows) for rows in groups()] == GROUPS
    assert sum(GROUPS) == len({row.concept for rows in groups() for row in rows}) == 41


def test_a_row_links_what_it_claims() -> None:
    assert [doubt for rows in groups() for row in rows for doubt in doubts(row)] == []


def test_a_row_that_claims_too_much_is_found() -> None:
    assert doubts(Row("x", "available", ""))
    assert doubts(Row("x", "available", "[x](nowhere.md)"))
    assert doubts(Row("x", "planned", "[x](web.md)"))
    assert doubts(Row("x", "in the shop", "[x](web.md)"))
    assert doubts(Row("x", "done", "[x](web.md)"))
