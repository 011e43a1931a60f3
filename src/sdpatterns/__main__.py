"""`python -m sdpatterns`: the version, the extras that are installed, and where the documentation is."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

__all__ = ["main"]

_DOCS = "https://sdpatterns.readthedocs.io/"
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+).*;.*\bextra *== *['\"](?P<extra>[^'\"]+)['\"]")


def main() -> None:
    """Print the report."""
    print("\n".join(_report()))  # noqa: T201 - a report for a terminal


def _report() -> Iterator[str]:
    yield f"sdpatterns     {sys.modules['sdpatterns'].__version__}"
    yield f"Python         {platform.python_version()} ({sys.platform})"
    yield f"documentation  {_DOCS}"
    yield ""
    extras = _extras()
    if not extras:
        yield "extras         unknown, because this is not an installed package"
        return
    yield "extras"
    yield from (f"  {extra:<{max(map(len, extras))}}  {_state(extra, names)}" for extra, names in extras.items())


def _extras() -> dict[str, list[str]]:
    """The libraries of each extra, by what the installed package says."""
    try:
        needed = metadata.requires("sdpatterns") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for requirement in needed:
        match = _REQUIREMENT.match(requirement)
        if match and match["name"] != "sdpatterns":
            found.setdefault(match["extra"], []).append(match["name"])
    return found


def _state(extra: str, names: list[str]) -> str:
    versions = {name: _version(name) for name in names}
    if all(versions.values()):
        return ", ".join(f"{name} {version}" for name, version in versions.items())
    there = "".join(f"{name} {version}, " for name, version in versions.items() if version)
    return f'{there}not installed: pip install "sdpatterns[{extra}]"'


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
