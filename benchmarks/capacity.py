"""The figures of docs/how-to/size-the-shop.md, from what `python -m deploy.load.scaling` came to."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.tables import filled
from sdpatterns.testing.load import ScalabilityLaw

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "size-the-shop.md"
NOT_YET = "Not measured yet: the command below wants a machine that does nothing else."
TITLE = "What the shop sustains with more replicas of each service"


def read() -> dict[str, Any] | None:
    """The committed figures, if the command has been run."""
    place = RESULTS / "shop_scaling.json"
    return json.loads(place.read_text()) if place.exists() else None


def law_of(facts: dict[str, Any], kind: str) -> ScalabilityLaw:
    """The law that was fitted."""
    return ScalabilityLaw(**facts["laws"][kind])


def sustained(facts: dict[str, Any]) -> str:
    """What each number of replicas sustains: the drawing and the table."""
    head = "| | replicas | sustained | of one replica's | p50 | p95 | processor time each | under way |"
    rows = [head, "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for kind in facts["laws"]:
        for replicas, shop in facts["shops"].items():
            step, one = shop["kinds"][kind], facts["shops"]["1"]["kinds"][kind]
            cells = [f"{step['per_s']:,.1f}/s", f"{step['per_s'] / one['per_s']:.2f}x"]
            cells += [f"{step[name]:,.0f} ms" for name in ("p50_ms", "p95_ms", "cpu_ms")]
            rows.append(f"| {' | '.join([kind, replicas, *cells, format(step['in_flight'], '.1f')])} |")
    made = f"`{facts['command']}`, steps of {facts['step_s']:g} s, Python {facts['python']}, {facts['system']}, "
    return "\n".join(["{{ drawing shop_scaling }}", "", *rows, "", f"{made}{facts['when'][:10]}."])


def laws(facts: dict[str, Any]) -> str:
    """The three unknowns of each law, and where it has its peak."""
    rows = ["| | one replica | contention | crosstalk | the most at |", "|---|--:|--:|--:|--:|"]
    for kind in facts["laws"]:
        law = law_of(facts, kind)
        peak = "no number" if math.isinf(law.peak) else f"{law.peak:.1f} replicas"
        rows.append(f"| {kind} | {law.one:,.1f}/s | {law.contention:.3f} | {law.crosstalk:.4f} | {peak} |")
    return "\n".join(rows)


def costs(facts: dict[str, Any]) -> str:
    """What each number of replicas takes of a machine, for what it sustains."""
    rows = ["| replicas | processes | memory | memory for each purchase per second |", "|--:|--:|--:|--:|"]
    for replicas, shop in facts["shops"].items():
        each = shop["memory_mib"] / shop["kinds"]["purchases"]["per_s"]
        rows.append(f"| {replicas} | {shop['processes']} | {shop['memory_mib']:,} MiB | {each:,.0f} MiB |")
    return "\n".join(rows)


TABLES = {"sustained": sustained, "laws": laws, "costs": costs}


def page(text: str) -> str:
    """The page with its figures as they are now."""
    facts = read()
    shown = {name: table(facts) if facts else NOT_YET for name, table in TABLES.items()}
    return filled(text, {name: partial(str, words) for name, words in shown.items()})
