"""The services in the chart's values, written from the shop's own registry: `python -m deploy.services --write`.

It stands here and not in the shop, because the shop never reads the chart, and not in the library, which knows no
shop: `deploy` may import both, and neither imports `deploy`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from shop.serving import ends_s
from shop.settings import ALONE, CALLS, DEPLOYABLES, PORTS, PUBLIC, PUBLIC_PORT, WATCHING
from shop.stage.fleet_servers import DATABASES

VALUES = Path(__file__).parent / "helm" / "shop" / "values.yaml"
MARK = "# --- generated from examples/shop/settings.py by `python -m deploy.services --write` ---\n"
_COUNTING = (PUBLIC,)  # these count in Valkey, together with the other pods of theirs


def services() -> dict[str, dict[str, Any]]:
    """One entry for each deployable: what it runs, whom it calls at which ports, where it keeps data."""
    return {name: _service(name) for name in DEPLOYABLES}


def calls(deployable: str) -> dict[str, list[int]]:
    """The other deployables that this one calls, and the ports of the contexts that it calls there."""
    wanted = {to for context in DEPLOYABLES[deployable] for to in CALLS.get(context, ())}
    ports = {
        other: sorted(PORTS[context] for context in contexts if context in wanted)
        for other, contexts in DEPLOYABLES.items()
    }
    if deployable == WATCHING:  # its simulated visitors come in as all visitors do
        ports[PUBLIC] = [PUBLIC_PORT, *ports[PUBLIC]]
    return {other: found for other, found in ports.items() if found}


def _service(name: str) -> dict[str, Any]:
    contexts = DEPLOYABLES[name]
    public = {"publicPort": PUBLIC_PORT} if name == PUBLIC else {}
    return {
        "contexts": {context: PORTS[context] for context in contexts},
        **public,
        "alone": name in ALONE,
        "calls": calls(name),
        "stores": _stores(contexts),
        "drainSeconds": max(ends_s(context) for context in contexts),
    }


def _stores(contexts: Sequence[str]) -> list[str]:
    postgres = ["postgres"] if set(contexts) & set(DATABASES) else []
    return [*postgres, *(["valkey"] if set(contexts) & set(_COUNTING) else [])]


def written(values: str) -> str:
    """The values with their generated part as the registry is now."""
    by_hand, mark, _ = values.partition(MARK)
    if not mark:
        raise ValueError(f"{VALUES.name} has lost the line that the services stand below: {MARK.strip()}")
    return (
        by_hand + mark + yaml.safe_dump({"services": services()}, sort_keys=False, default_flow_style=None, width=110)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the committed values with the registry, or write them; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.services", description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the file instead of comparing it")
    write = parser.parse_args(argv).write
    there = VALUES.read_text(encoding="utf-8")
    wanted = written(there)
    if write:
        VALUES.write_text(wanted, encoding="utf-8")
    elif there != wanted:
        print("The chart's values are not what the registry says: python -m deploy.services --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
