"""The backends that the same tests run on: memory, SQLite, Postgres, Valkey, a Valkey Cluster, NATS, etcd.

The contracts and the tests of the backends run on all of them under asyncio (`tests/contracts/brief.py` says what
of queues and logs runs in threads each time). A pattern stands on the contracts: its
tests run on memory, on Valkey, which runs scripts, and on one of the two SQL databases, half of the tests
on each; the rest are marked `long`. On those that have no code of their own in any pattern (`LONG_ALONE`)
only the contracts and their own folders run each time. `pytest -m ""` runs them all.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdpatterns.backends.etcd import EtcdBackend
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.nats import NatsBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.clock import SYSTEM, Clock

KINDS = ["memory", "sqlite", "postgres", "valkey", "cluster", "nats", "etcd"]
LONG_ALONE = ["nats", "etcd"]
"""Stores that run a transition as SQL does, by compare-and-set: a pattern meets nothing new on them."""
BLOCKING_KINDS = ["memory", "sqlite", "postgres", "valkey"]
PATIENCE_S = 60.0
"""A server beside other work may take longer than the usual five seconds; that is no test's subject here."""
ON_EVERY_BACKEND = ("tests/backends/", "tests/contracts/")
"""Folders whose tests run on every backend each time."""


def is_for_long_runs(test: str, params: Mapping[str, object]) -> bool:
    """Whether a test, by its id, is left to long runs with these parameters."""
    kind = next((value for value in params.values() if isinstance(value, str) and value in KINDS), "memory")
    if test.startswith(ON_EVERY_BACKEND):
        return kind in LONG_ALONE
    name, _, cases = test.partition("[")
    of_all_kinds = name + cases.replace(kind, "")
    sql = ("sqlite", "postgres")[zlib.crc32(of_all_kinds.encode()) % 2]
    return kind not in {"memory", "valkey", sql}


class ShiftedMemory(MemoryBackend):
    def __init__(self) -> None:
        self.shift_us = 0
        super().__init__(clock=Clock(SYSTEM.monotonic, lambda: SYSTEM.now_us() + self.shift_us))

    def shift(self, seconds: float) -> None:
        self.shift_us += round(seconds * 1_000_000)


@asynccontextmanager
async def opened(request: pytest.FixtureRequest, kind: str, folder: Path) -> AsyncIterator[Any]:
    """A backend of that kind, with nothing in it that a test could meet."""
    async with _built(request, kind, folder) as backend:
        await backend.create()
        yield backend


@contextmanager
def opened_blocking(request: pytest.FixtureRequest, kind: str, folder: Path) -> Iterator[Any]:
    """The same for a program without a loop."""
    backend = _built(request, kind, folder, without_a_loop=True)
    with blocking(backend) as door:
        door.create()
        yield backend


def _built(request: pytest.FixtureRequest, kind: str, folder: Path, *, without_a_loop: bool = False) -> Any:
    if kind == "memory":
        return ShiftedMemory()
    if kind == "sqlite":
        return SQLBackend.from_url(
            f"sqlite{'' if without_a_loop else '+aiosqlite'}:///{folder / 'keys.db'}", timeout_s=PATIENCE_S
        )
    if kind == "postgres":
        driver = "psycopg" if without_a_loop else "asyncpg"
        url = request.getfixturevalue("postgres_url").replace("://", f"+{driver}://")
        return SQLBackend.from_url(url, timeout_s=PATIENCE_S)
    if kind == "etcd":
        return EtcdBackend(request.getfixturevalue("etcd_url"), prefix=unique("t"), timeout_s=PATIENCE_S)
    if kind == "nats":
        return NatsBackend(request.getfixturevalue("nats_url"), prefix=unique("t"), timeout_s=PATIENCE_S)
    url = request.getfixturevalue("valkey_cluster" if kind == "cluster" else "valkey_url")
    return RedisBackend.from_url(
        url, cluster=kind == "cluster", prefix=unique("t"), blocking=without_a_loop, timeout_s=PATIENCE_S
    )


@pytest.fixture(params=KINDS)
async def each_backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """For a module whose tests run on all of them: `backend = each_backend`."""
    async with opened(request, request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=[kind for kind in KINDS if kind not in LONG_ALONE])
async def each_backend_with_queues(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Those that keep messages: `backend = each_backend_with_queues`."""
    async with opened(request, request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=[kind for kind in KINDS if kind != "etcd"])
async def each_backend_with_logs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Those that keep events: `backend = each_backend_with_logs`."""
    async with opened(request, request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=BLOCKING_KINDS)
def each_blocking_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The same without a loop: `blocking_backend = each_blocking_backend`."""
    with opened_blocking(request, request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=["own", *KINDS])
async def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """All of their state stores, and None, with which a pattern makes its own: `store = each_store`."""
    if request.param == "own":
        yield None
        return
    async with opened(request, request.param, tmp_path) as found:
        yield found.states


def unique(name: str) -> str:
    """A name that no other test of a shared server has used."""
    return f"{name}-{uuid.uuid4().hex[:8]}"
