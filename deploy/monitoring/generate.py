"""Write what is generated here from what is written by hand: `python -m deploy.monitoring.generate`.

| from | to |
|---|---|
| `slo.yml` and `sdpatterns.observability.alerts` | `rules.yml` |
| `dashboards.py` | `dashboards/*.json` |

`--shrink 60 --out FILE` writes only the rules, for a fast clock, on which an hour lasts a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdpatterns.observability.alerts import AlertThresholds, pattern_alerts
from sdpatterns.observability.rules import RuleGroup
from sdpatterns.observability.slo import BurnWindows, SLOFile, slo_rules
from sdpatterns.observability.slo.yaml import read_slo_file, written_rules

HERE = Path(__file__).parent
RULES = HERE / "rules.yml"
DASHBOARDS = HERE / "dashboards"
RUNBOOKS = "https://sdpatterns.readthedocs.io/en/latest/runbooks"
TARGET = 'up{app_kubernetes_io_part_of="shop"}'
"""All programs of the shop: `prometheus.yml` has the label, and in a cluster ServiceMonitors take it from services."""
_HEAD = "# Generated from slo.yml by `python -m deploy.monitoring.generate`; a test compares the two.\n"


def slo_file() -> SLOFile:
    """The objectives of the shop."""
    return read_slo_file((HERE / "slo.yml").read_text(encoding="utf-8"))


def groups(shrink: float = 1.0) -> tuple[RuleGroup, ...]:
    """All rules of the shop."""
    patterns = pattern_alerts(AlertThresholds(shrink=shrink), runbooks=RUNBOOKS, target=TARGET)
    return (*slo_rules(slo_file(), BurnWindows(shrink=shrink), runbooks=RUNBOOKS), patterns)


def rules(shrink: float = 1.0) -> str:
    """The text of the rule file."""
    return _HEAD + written_rules(groups(shrink))


def main(words: Sequence[str] | None = None) -> int:
    """Write the files."""
    parser = argparse.ArgumentParser(prog="python -m deploy.monitoring.generate", description=__doc__)
    parser.add_argument("--shrink", type=float, default=1.0, metavar="N", help="make all windows N times shorter")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the rules, and nothing else")
    given = parser.parse_args(words)
    (given.out or RULES).write_text(rules(given.shrink), encoding="utf-8")
    if given.out is None:
        _write_dashboards()
    return 0


def _write_dashboards() -> None:
    from deploy.monitoring.dashboards import texts  # its library is there for development only

    DASHBOARDS.mkdir(exist_ok=True)
    for name, text in texts().items():
        (DASHBOARDS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
