"""The address of a running shop, kept in its data directory so that other commands find it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8000"
_FILE = "address.json"


@contextmanager
def published(data_dir: Path, url: str) -> Iterator[None]:
    """Keep the shop's URL in a file during the block. Where the file cannot be written, `--url` still works."""
    path = data_dir / _FILE
    with suppress(OSError):
        path.write_text(json.dumps({"url": url}), encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def find(data_dir: Path) -> str:
    """The URL of the shop that runs on a data directory, or the default one when no shop has written its own."""
    try:
        url = json.loads((data_dir / _FILE).read_text(encoding="utf-8"))["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_URL
    return url if isinstance(url, str) else DEFAULT_URL


def in_words(ports: Sequence[int]) -> str:
    """Ports as people write them: `9400-9409, 9412`."""
    runs: list[list[int]] = []
    for port in sorted(set(ports)):
        if runs and runs[-1][-1] == port - 1:
            runs[-1].append(port)
        else:
            runs.append([port])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
