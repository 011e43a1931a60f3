"""CPU time of one step on each store, now and at another commit, in subprocesses that take turns.

python benchmarks/store_steps.py path/to/other/src [rounds [store ...]]
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sdpatterns.testing import servers

SECONDS = 0.4


class Old:
    """One more, as a transition of one state (before the store engine)."""

    repeats = "unsafe"
    script = twin = None

    def __call__(self, state: Any, now_us: int, /) -> Any:
        return ((state or (0,))[0] + 1,), None, 3600.0, ()


class New(Old):
    """One more."""

    def __call__(self, states: Any, now_us: int, /) -> Any:
        return [((states[0] or (0,))[0] + 1,)], None, [3600.0], ()


def work_of(kind: str, url: str) -> tuple[Any, Any]:
    """A backend and one call on it, whichever commit is imported."""
    from sdpatterns import RateLimiter, per_second
    from sdpatterns.backends.memory import MemoryBackend
    from sdpatterns.backends.redis import RedisBackend
    from sdpatterns.backends.sqlalchemy import SQLBackend
    from sdpatterns.core.codec import IntegersCodec
    from sdpatterns.ports import states

    backend: Any = MemoryBackend()
    if kind.startswith("redis"):
        backend = RedisBackend.from_url(url)
    elif kind != "memory":
        backend = SQLBackend(url)
    if kind == "redis with a script":
        limiter = RateLimiter("bench", per_second(1_000_000), store=backend.states)
        return backend, limiter.acquire
    space: Any = getattr(states, "Space", None)
    find: Any = backend.states.cells
    cells = find("bench", IntegersCodec()) if space is None else find(space("bench", IntegersCodec()))
    step = Old() if space is None else New()
    return backend, lambda key: cells.transact(key, step)


async def load(kind: str, url: str, tasks: int) -> float:
    """Microseconds of CPU per step."""
    backend, call = work_of(kind, url)
    async with backend:
        await backend.create()
        for place in range(tasks):
            await call(f"k{place}")
        # A full collection takes as long as a thousand steps, and what the imports left is not what a step costs.
        gc.collect()
        gc.freeze()
        done, until, began = 0, time.perf_counter() + SECONDS, time.process_time()

        async def task(place: int) -> None:
            nonlocal done
            while time.perf_counter() < until:
                await call(f"k{place}")
                done += 1
                if kind == "memory":
                    await asyncio.sleep(0)

        await asyncio.gather(*(task(place) for place in range(tasks)))
        return (time.process_time() - began) / done * 1e6


def measured(source: str, kind: str, url: str, tasks: int) -> float:
    command = [sys.executable, __file__, "--one", kind, url, str(tasks)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": source}, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def main() -> None:
    if sys.argv[1] == "--one":
        sys.stdout.write(json.dumps(asyncio.run(load(sys.argv[2], sys.argv[3], int(sys.argv[4])))))
        return
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    sources = {"before": sys.argv[1], "now": str(Path(__file__).parents[1] / "src")}
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(servers.valkey_server())
        urls = {}
        # A database for each, because a release refuses the tables of another one.
        for name in sources:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            postgres = stack.enter_context(servers.postgres_server())
            urls[name] = {
                "memory": "",
                "redis with a script": redis,
                "redis without": redis,
                "sqlite": f"sqlite+aiosqlite:///{directory}/b.db",
                "postgres": postgres.replace("postgresql:", "postgresql+asyncpg:", 1),
            }
        for kind in sys.argv[3:] or urls["now"]:
            for tasks in (1, 256):
                pairs = [
                    [measured(source, kind, urls[name][kind], tasks) for name, source in sources.items()]
                    for _ in range(rounds)
                ]
                before, now = (statistics.median(column) for column in zip(*pairs, strict=True))
                ratios = sorted(new / old for old, new in pairs)
                spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
                ratio = statistics.median(ratios)
                sys.stdout.write(f"| {kind} | {tasks} | {before:.1f} | {now:.1f} | {ratio:.2f} | {spread} |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
