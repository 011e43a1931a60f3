"""Pages with tables that are made from the committed figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

END = "<!-- end of figures -->"


def filled(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """The page with its tables as they are now; each stands between a mark with its name and the end mark."""
    for name, table in tables.items():
        before_it, found, rest = text.partition(f"<!-- figures: {name} -->\n")
        if found:
            text = f"{before_it}{found}\n{table()}\n\n{END}{rest.partition(END)[2]}"
    return text
