"""The record of a game day as text: what the command writes beside the JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def as_markdown(record: Mapping[str, Any]) -> str:
    """The record as Markdown, in short tables."""
    radius, load = record["blast_radius"], record["load"]
    parts = [
        f"# {record['title']}",
        f"**{str(record['result']).capitalize()}.** {record['hypothesis']}",
        f"{record['began_at']} to {record['ended_at']}.",
        f"Blast radius: {', '.join(radius['targets'])}; at most {radius['percent_max']} % of requests.",
        radius["note"],
        f"Load: {_or_as_it_was(load['visitors'])} visitors, {load['buyers']} buyers.",
        "## Hypotheses",
        _table(("hypothesis", "wanted", "found", "held"), record["hypotheses"]),
        "## Steady state",
        _table(("name", "wanted", "before", "after", "held"), record["steady_state"]),
        "## Abort conditions",
        _table(("name", "wanted", "found", "hit_at_s"), record["abort"]),
        "## What was counted",
        _table(
            ("objective", "events", "errors", "error_percent"),
            ({"objective": name, **counts} for name, counts in record["since"].items()),
        ),
        "## What happened",
        _table(("at_s", "text"), record["told"]),
    ]
    return "\n\n".join(parts) + "\n"


def _or_as_it_was(visitors: int | None) -> str:
    return "as many as before:" if visitors is None else str(visitors)


_WORDS = {True: "yes", False: "no", None: "–"}


def _table(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> str:
    names = {"hypothesis": "name"}
    lines = [[_cell(row[names.get(column, column)]) for column in columns] for row in rows]
    heads = [column.replace("_", " ") for column in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(columns), *lines))


def _cell(value: object) -> str:
    told = _WORDS[value] if value is None or isinstance(value, bool) else str(value)
    return told.replace("|", "\\|")
