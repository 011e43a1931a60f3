"""The tables of docs/crashes.md, from what the crash matrix, the sagas, the jobs and the holders of locks came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.tables import filled

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "crashes.md"
NAMES = {"sqlite": "SQLite", "postgres": "Postgres", "valkey": "Valkey", "redis-py": "redis-py's lock"}
FAULTS = {"kill": "worker killed", "stop": "worker stopped", "restart": "server killed"}


def read(name: str) -> dict[str, Any]:
    """The committed figures of one run."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def matrix() -> str:
    """What all cells came to, and how long the work stood in each."""
    facts = read("crash_matrix")
    cells = facts["cells"]
    stores = [store for store in NAMES if any(name.split()[1] == store for name in cells)]
    rows = [f"| pattern | fault | {' | '.join(NAMES[store] for store in stores)} |", f"|---|---|{'--:|' * len(stores)}"]
    for pattern in facts["patterns"]:
        for fault, title in FAULTS.items():
            times = [_times(cells.get(f"{pattern} {store} {fault}")) for store in stores]
            rows.append(f"| {' | '.join([pattern, title, *times])} |")
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    commands = "; ".join(f"`{each}`" for each in facts["commands"])
    made = f"{commands}. Python {facts['python']}, {facts['system']}, {facts['when'][:10]}; {versions}."
    return "\n".join([_came_to(list(cells.values())), "", *rows, "", made])


def _came_to(cells: list[dict[str, Any]]) -> str:
    done, lost, double, rounds = (sum(cell[word] for cell in cells) for word in ("items", "lost", "double", "rounds"))
    return (
        f"{len(cells)} combinations, {rounds:,} rounds in all, {done:,} pieces of work: "
        f"**{lost} lost, {double} double**. "
        "The table has the seconds that the work stood still, the median of the rounds and the longest."
    )


def _times(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    waited = f", {cell['blocked']} waited" if cell["blocked"] else ""
    lease = f", lease {cell['lease_s']:g} s" if cell["lease_s"] else ""
    return f"{cell['p50_s']:.1f} ({cell['max_s']:.1f}{lease}{waited})" if "p50_s" in cell else waited.lstrip(", ")


def sagas() -> str:
    """Sagas whose workers died at each of their calls."""
    facts = read("saga_deaths")
    rows = ["| store | rounds | orders | deaths | lost | charged twice | asked again | seconds, median | longest |"]
    rows.append("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name, found in facts["backends"].items():
        store, _, lease = name.partition(", ")
        counts = [f"{found[word]:,}" for word in ("rounds", "orders", "deaths", "lost", "double", "again")]
        times = [f"{found[word]:.1f}" for word in ("p50_s", "max_s")]
        rows.append(f"| {' | '.join([f'{NAMES[store]}, {lease}', *counts, *times])} |")
    return "\n".join([*rows, "", f"`{facts['command']}`."])


def jobs() -> str:
    """Many jobs while servers or workers were killed."""
    facts = read("jobs_crash")
    rows = [
        "| store | jobs | killed | kills | lost | effects that came twice | begun again |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    for store, found in facts["ten_thousand_jobs"].items():
        counts = [f"{found[word]:,}" for word in ("kills", "lost", "double_effects", "begun_again")]
        rows.append(f"| {' | '.join([NAMES[store], format(found['jobs'], ','), found['killed'], *counts])} |")
    return "\n".join([*rows, "", f"`{facts['command']}`."])


def holders() -> str:
    """Holders of a lock that were stopped for longer than their lease."""
    facts = read("stopped_holders")
    rows = ["| lock | stops | acknowledged updates | lost | late writes refused |", "|---|--:|--:|--:|--:|"]
    for lock, found in sorted(facts["locks"].items(), key=lambda each: each[0] == "redis-py"):
        title = NAMES[lock] if lock == "redis-py" else f"`Lease` on {NAMES[lock]}, and `FencedRows`"
        counts = [f"{found[word]:,}" for word in ("stops", "acknowledged", "lost")]
        refused = "" if lock == "redis-py" else f"{found['refused']:,}"
        rows.append(f"| {' | '.join([title, *counts, refused])} |")
    return "\n".join([*rows, "", f"`{facts['command']}`."])


TABLES = {"matrix": matrix, "sagas": sagas, "jobs": jobs, "holders": holders}


def page(text: str) -> str:
    """The page with its tables as they are now."""
    return filled(text, TABLES)
