"""Turn an SLO file into Prometheus rules: `python -m sdpatterns.observability.slo slo.yml --out rules.yml`.

The rules go into `rule_files` of Prometheus, or into the `spec` of a `PrometheusRule`. Without `--out` they are
printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdpatterns.observability.slo.decision import slo_rules
from sdpatterns.observability.slo.windows import BurnWindows

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; 0 where the rules are written, 1 where the file is refused, 2 for a wrong command."""
    parser = _parser()
    given = parser.parse_args(words)
    try:
        windows = BurnWindows(shrink=given.shrink)
    except ValueError as cause:
        parser.error(f"--shrink: {cause}")
    try:
        rules = _rules(given.file, windows, given.runbooks)
    except (OSError, ValueError) as cause:
        print(f"{given.file}: {cause}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    if given.out is None:
        print(rules, end="")  # noqa: T201 - a command's answer
    else:
        given.out.write_text(rules, encoding="utf-8")
    return 0


def _rules(file: Path, windows: BurnWindows, runbooks: str | None) -> str:
    from sdpatterns.observability.slo.yaml import read_slo_file, written_rules

    return written_rules(slo_rules(read_slo_file(file.read_text(encoding="utf-8")), windows, runbooks=runbooks))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sdpatterns.observability.slo", description=__doc__)
    parser.add_argument("file", type=Path, help="the SLO file, of the version prometheus/v1")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the rules")
    parser.add_argument(
        "--runbooks", metavar="URL", help="where each alert has a page, named by its name in kebab case"
    )
    parser.add_argument(
        "--shrink",
        type=float,
        default=1.0,
        metavar="N",
        help="make all windows N times shorter, for tests (default: 1)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
