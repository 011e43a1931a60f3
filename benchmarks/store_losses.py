"""What each store's server loses when it is killed during acknowledged writes, and how many steps a second it makes.

python benchmarks/store_losses.py [rounds [store ...]]

Each round asks all stores in turn. A server is killed by SIGKILL while 32 tasks write growing numbers, each to
its own cell, and started again; an acknowledged number that is not there any more is a loss. This is the death of
a process, not of a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from sdpatterns.backends.etcd import EtcdBackend
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.nats import NatsBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.errors import BackendError
from sdpatterns.ports.states import Space
from sdpatterns.testing.etcd import etcd_process
from sdpatterns.testing.nats import nats_process
from sdpatterns.testing.postgres import postgres_process
from sdpatterns.testing.valkey import valkey_process

WRITERS, SECONDS, KILL_AFTER_S = 32, 1.0, 0.5


class Put:
    """Writes a number."""

    repeats = "harmless"
    script = None

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, states: Any, now_us: int, /) -> Any:
        return [(self.number,)], None, [3600.0], ()


@contextlib.asynccontextmanager
async def valkey(**settings: Any) -> AsyncIterator[Any]:
    with valkey_process(**settings) as server:
        yield server, RedisBackend(f"redis://127.0.0.1:{server.port}", warns_of_loss=False)


@contextlib.asynccontextmanager
async def postgres() -> AsyncIterator[Any]:
    with postgres_process(durable=True) as (server, url):
        yield server, SQLBackend(url.replace("postgresql:", "postgresql+asyncpg:"))


@contextlib.asynccontextmanager
async def nats(**settings: Any) -> AsyncIterator[Any]:
    with nats_process(**settings) as server:
        yield server, NatsBackend(f"nats://127.0.0.1:{server.port}")


@contextlib.asynccontextmanager
async def etcd() -> AsyncIterator[Any]:
    with etcd_process() as server:
        yield server, EtcdBackend(f"etcd://127.0.0.1:{server.port}")


@contextlib.asynccontextmanager
async def memory() -> AsyncIterator[Any]:
    yield None, MemoryBackend()


@contextlib.asynccontextmanager
async def sqlite() -> AsyncIterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        yield None, SQLBackend(f"sqlite+aiosqlite:///{Path(folder) / 'cells.db'}")


STORES: dict[str, Callable[[], Any]] = {
    "memory": memory,
    "SQLite": sqlite,
    "Postgres": postgres,
    "Valkey, nothing kept": valkey,
    "Valkey, appendfsync always": lambda: valkey(durable=True),
    "NATS": nats,
    "NATS, sync_interval always": lambda: nats(durable=True),
    "etcd": etcd,
}


async def per_second(cells: Any, tasks: int) -> float:
    """Steps a second of so many tasks, each on a cell of its own."""
    until, made = time.monotonic() + SECONDS, 0

    async def steps(place: int) -> None:
        nonlocal made
        while time.monotonic() < until:
            await cells.transact(f"speed {place}", Put(made))
            made += 1

    await asyncio.gather(*(steps(place) for place in range(tasks)))
    return made / SECONDS


async def losses(server: Any, backend: Any, cells: Any) -> tuple[int, int]:
    """How many writes were acknowledged before the kill, and how many of them the server then does not know."""
    acknowledged = dict.fromkeys(range(WRITERS), 0)

    async def write(place: int) -> None:
        with contextlib.suppress(BackendError):
            while True:
                await cells.transact(f"{place}", Put(acknowledged[place] + 1))
                acknowledged[place] += 1

    writers = [asyncio.create_task(write(place)) for place in acknowledged]
    await asyncio.sleep(KILL_AFTER_S)
    await asyncio.to_thread(server.kill)
    await asyncio.wait(writers)
    await asyncio.to_thread(server.start)
    await backend.create()
    found = await cells.read_many([f"{place}" for place in acknowledged])
    lost = [max(number - (state or (0,))[0], 0) for number, state in zip(acknowledged.values(), found, strict=True)]
    return sum(acknowledged.values()), sum(lost)


async def main(rounds: int, names: list[str]) -> None:
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            async with STORES[name]() as (server, backend), backend:
                await backend.create()
                cells = backend.states.cells(Space("losses", IntegersCodec()))
                found = {"alone": await per_second(cells, 1), "together": await per_second(cells, WRITERS)}
                if server is not None:
                    found["acknowledged"], found["lost"] = await losses(server, backend, cells)
                figures[name].append(found)
    for name, all_found in figures.items():
        line = {"store": name}
        for word in all_found[0]:
            values = [found[word] for found in all_found]
            line[word] = round(sum(values) if word in {"acknowledged", "lost"} else statistics.median(values))
        print(json.dumps(line))


if __name__ == "__main__":
    asyncio.run(main(int((sys.argv[1:] or ["5"])[0]), sys.argv[2:] or list(STORES)))
