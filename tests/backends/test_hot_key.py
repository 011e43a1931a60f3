"""Many writers in many processes on one cell, beside processes that burn every core: all of them get their turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.ports.states import Space
from tests.house.source import ROOT

PROCESSES, WRITERS, BURNERS = 8, 20, 2
WAIT_MAX_S = 5.0

WRITER = """
import asyncio, json, sys, time
from tests.backends.test_hot_key import HOT, Count, opened

async def main(url, seconds, writers):
    waits, errors = [], []
    async with opened(url) as backend:
        cells = backend.states.cells(HOT)
        await cells.read("key")
        print("ready", flush=True)
        sys.stdin.readline()
        until = time.monotonic() + seconds

        async def write():
            while time.monotonic() < until:
                began = time.monotonic()
                try:
                    await cells.transact("key", Count())
                except Exception as error:
                    errors.append(repr(error))
                waits.append(time.monotonic() - began)

        await asyncio.gather(*(write() for _ in range(writers)))
    print(json.dumps([len(waits) - len(errors), max(waits), errors[:3]]))

asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
"""

HOT: Space[tuple[int, ...]] = Space("hot", IntegersCodec())


class Count:
    """One more, by Python alone."""

    repeats = "unsafe"
    script = None

    def __call__(self, states: Any, now_us: int, /) -> Any:
        return [((states[0] or (0,))[0] + 1,)], None, [3600.0], ()


def opened(url: str, *, blocking: bool = False) -> Any:
    """The backend for a URL, imported only where it is used."""
    if url.startswith("redis"):
        from sdpatterns.backends.redis import RedisBackend

        return RedisBackend.from_url(url, blocking=blocking, timeout_s=30.0)
    from sdpatterns.backends.sqlalchemy import SQLBackend

    return SQLBackend.from_url(url, blocking=blocking, timeout_s=30.0)


@contextmanager
def burning() -> Iterator[None]:
    """Two processes that take all that both cores have."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def hammered(url: str, seconds: float, processes: int, writers: int) -> list[tuple[int, float, list[str]]]:
    """For each process: how many writes it made, the longest wait of one, and the first errors."""
    command = [sys.executable, "-c", WRITER, url, str(seconds), str(writers)]
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        for _ in range(processes)
    ]
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in started:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [tuple(json.loads(one.communicate(timeout=seconds + 120)[0])) for one in started]  # type: ignore[misc]


def judge(url: str, blocking_url: str, seconds: float, processes: int, writers: int) -> tuple[int, float]:
    """How many writes, and the longest wait, once nothing failed and nothing was lost."""
    backend = opened(blocking_url, blocking=True)
    finish(backend.create())
    cells = backend.states.cells(HOT)
    finish(cells.delete("key"))
    ends = hammered(url, seconds, processes, writers)
    assert [errors for *_, errors in ends if errors] == []
    written = sum(count for count, *_ in ends)
    assert finish(cells.read("key")) == (written,)
    finish(backend.__aexit__(None, None, None))
    return written, max(wait_s for _, wait_s, _ in ends)


def urls(kind: str, request: pytest.FixtureRequest, directory: Path) -> tuple[str, str]:
    if kind == "redis":
        url: str = request.getfixturevalue("valkey_url")
        return url, url
    if kind == "sqlite":
        return f"sqlite+aiosqlite:///{directory}/hot.db", f"sqlite:///{directory}/hot.db"
    url = request.getfixturevalue("postgres_url")
    return (
        url.replace("postgresql:", "postgresql+asyncpg:", 1),
        url.replace("postgresql:", "postgresql+psycopg:", 1),
    )


@pytest.mark.parametrize(
    "kind", ["redis", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in ("sqlite", "postgres"))]
)
def test_writers_of_several_processes_on_one_cell_lose_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    written, _ = judge(*urls(kind, request, tmp_path), 0.5, 3, 5)
    assert written > 0


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["redis", "sqlite", "postgres"])
def test_no_writer_of_a_hot_cell_waits_for_long_on_a_busy_machine(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with burning():
        written, longest_s = judge(*urls(kind, request, tmp_path), 20.0, PROCESSES, WRITERS)
    print(f"\n{kind}: {written} writes in 20 s, no wait over {longest_s:.2f} s")  # noqa: T201 - the figure
    assert longest_s <= WAIT_MAX_S
