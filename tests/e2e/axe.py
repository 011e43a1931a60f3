"""axe-core from npm, fetched once into `.cache/` of this checkout and asked in the page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from deploy.checks import npm

_HERE = Path(__file__).parent
_SERIOUS = ("serious", "critical")


def axe_source() -> str:
    """axe's script in the version that the lock file names."""
    try:
        place = npm.installed(_HERE)
    except npm.NpmMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI never leaves axe out: {missing}")
        pytest.skip("no npm on this machine: the look at accessibility was left out")
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def faults(page: Page, source: str) -> list[str]:
    """What is seriously wrong with the page as it stands, a line each: the rule, where, and why."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(source)
    found: list[dict[str, Any]] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)"
    )
    return [
        f"{fault['id']} ({fault['impact']}) {node['html'][:160]}: {node['failureSummary'].splitlines()[-1].strip()}"
        for fault in found
        if fault["impact"] in _SERIOUS
        for node in fault["nodes"]
    ]
