"""Imports go down only, and other people's libraries stay in the file named for them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, called, modules, parsed

ALLOWED_EVERYWHERE = {"sdpatterns", "anyio", "typing_extensions"}

# The word in a path that opens a file to a library. `testing` is for tools of tests.
NAMED_FOR = {
    "aetcd": "etcd",
    "aiohttp": "aiohttp",
    "aiosqlite": "sqlalchemy",
    "asyncpg": "sqlalchemy",
    "brotli": "brotli",
    "cronsim": "cronsim",
    "fastapi": "fastapi",
    "flask": "flask",
    "hiredis": "redis",
    "http_sf": "http_sf",
    "httpx": "httpx",
    "httpx2": "httpx2",
    "hypothesis": "testing",
    "opentelemetry": "opentelemetry otlp span_redaction traces",
    "msgspec": "msgspec",
    "nats": "nats",
    "prometheus_client": "prometheus",
    "psutil": "testing",
    "psycopg": "sqlalchemy testing",
    "pydantic": "settings",
    "pydantic_settings": "settings",
    "pytest": "testing",
    "redis": "redis",
    "sqlalchemy": "sqlalchemy",
    "structlog": "structlog",
    "testcontainers": "testing",
    "trio": "trio testing",
    "yaml": "yaml",
    "zstandard": "zstandard",
}


# Files named for a library that others inside may import all the same, and why.
OPEN_GUESTS = {
    "sdpatterns.messaging.schema.msgspec": "only asked for a class that the library made, so that it is there",
    "sdpatterns.observability.slo.yaml": "the command reads and writes YAML; the rest works on mappings",
    "sdpatterns.web.brotli": "the ASGI door offers br where the library is there, and asks before it imports",
    "sdpatterns.web.http_sf": "the ASGI door reads and writes structured fields; it is behind the extra `web`",
    "sdpatterns.web.zstandard": "the same for zstd",
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Absolute names that a module imports, whether at its top, in a function or for types only."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and called(node).endswith("import_module"):
            yield from ((node.lineno, str(word.value)) for word in node.args[:1] if isinstance(word, ast.Constant))


def words(path: Path) -> set[str]:
    return set(path.relative_to(PACKAGE).with_suffix("").parts)


def is_stranger(library: str, path: Path) -> bool:
    if library in sys.stdlib_module_names or library in ALLOWED_EVERYWHERE:
        return False
    return not words(path) & set(NAMED_FOR.get(library, "nowhere").split())


@pytest.mark.long  # the session `lint` does it each time
def test_the_contracts_of_import_linter_are_kept() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_library_appears_only_in_the_file_named_for_it() -> None:
    strangers = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        for line, name in imports(path)
        if is_stranger(name.partition(".")[0], path)
    ]
    assert strangers == []


def test_no_module_inside_imports_a_file_that_is_named_for_a_library() -> None:
    named = {word for value in NAMED_FOR.values() for word in value.split()} - {"testing"}
    guests = {module(path): path for path in modules() if words(path) & named and module(path) not in OPEN_GUESTS}
    offences = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        if "testing" not in words(path)
        for line, name in imports(path)
        for guest in guests
        if name == guest and not _of_one_library(path, guests[guest]) and not _is_a_runtime(guest)
    ]
    assert offences == []


def test_no_module_inside_imports_the_front_door() -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{line}" for path in modules() for line, name in imports(path) if name == "sdpatterns"
    ]
    assert offences == []


def test_all_imports_are_absolute() -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert offences == []


def module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _of_one_library(path: Path, guest: Path) -> bool:
    """The files named for one library, such as those of `backends/redis/`, may know each other."""
    return any(words(path) & set(named.split()) and words(guest) & set(named.split()) for named in NAMED_FOR.values())


def _is_a_runtime(guest: str) -> bool:
    # Code that finds trio running picks the twin for trio; it is then installed for certain.
    return guest.startswith("sdpatterns.core.runtime.")
