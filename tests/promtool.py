"""Rules judged by `promtool test rules`: which series come in, and which alerts fire or what a query gives, when.

A series is written as promtool has it: `0+5x60` begins at 0 and grows by 5 for 60 steps, `_x10` is ten steps without
a sample.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml


class Case(NamedTuple):
    """Series that come in, and what queries give at an instant."""

    name: str
    series: Mapping[str, str]
    expected: Sequence[tuple[str, str, float]]
    """A query, the time, and the one number that it gives then."""
    step: str = "1m"


def firing(alert: str, **labels: str) -> str:
    """A query of how many alerts of that name fire."""
    wanted = {"alertname": alert, "alertstate": "firing", **labels}
    inside = ",".join(f'{name}="{value}"' for name, value in wanted.items())
    return f"count(ALERTS{{{inside}}}) or vector(0)"


def assert_judged(promtool: str, folder: Path, rules: str, cases: Sequence[Case], *, evaluated: str = "1m") -> None:
    """Fails with promtool's own words where a case does not come out as expected."""
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    # JSON is YAML.
    tests = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": evaluated,
        # Else promtool evaluates groups in any order, and an alert may look at what was recorded one interval before.
        "group_eval_order": [group["name"] for group in yaml.safe_load(rules)["groups"]],
        "tests": [_test(case) for case in cases],
    }
    (folder / "tests.yml").write_text(json.dumps(tests), encoding="utf-8")
    run(promtool, "check", "rules", "--lint-fatal", str(folder / "rules.yml"))
    run(promtool, "test", "rules", str(folder / "tests.yml"))


def run(*words: str) -> str:
    """What a program prints; fails with that where it refuses."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _test(case: Case) -> dict[str, Any]:
    return {
        "name": case.name,
        "interval": case.step,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}
            for query, at, value in case.expected
        ],
    }
