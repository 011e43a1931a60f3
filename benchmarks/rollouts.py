"""The table of docs/patterns/rollout.md, from what `benchmarks/rollout.py` came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.tables import filled

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "patterns" / "rollout.md"


def table() -> str:
    """How many rollouts were rolled back, and after how many requests of the new version."""
    facts: dict[str, Any] = json.loads((RESULTS / "rollout.json").read_text())
    rows = ["| failures | `Rollout` | requests until then | z-test at each look |", "|---|--:|--:|--:|"]
    for case, found in facts["cases"].items():
        ours, other = found["sdpatterns"], found["z-test at each look"]
        requests = ours["requests_of_the_new_version"]
        cells = [f"{ours['rolled_back_percent']:g} %", "" if requests is None else str(requests)]
        cells.append(f"{other['rolled_back_percent']:g} %")
        rows.append(f"| {' | '.join([case, *cells])} |")
    made = f"`{facts['command']}`: {facts['rollouts']:,} rollouts for each line."
    return "\n".join([*rows, "", made])


def page(text: str) -> str:
    """The page with its table as it is now."""
    return filled(text, {"rollout": table})
