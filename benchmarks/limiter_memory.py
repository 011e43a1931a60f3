"""The limiter in memory beside its peers, in the same run.

    python benchmarks/limiter_memory.py [--rounds 15]

Time: one decision awaited after another, on one key and over 100,000 keys that were all seen
before. Memory: what 100,000 keys hold after one hit each, and after nine more, the key strings
left out. Pauses: the longest CPU time of one decision while a limiter grows to 1,000,000 keys.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import limits.aio.strategies as limits_strategies
from aiolimiter import AsyncLimiter
from harness import interleaved, ratio, report
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from pyrate_limiter import GCRA, BucketFactory, InMemoryBucket, Limiter, MonotonicClock, RateItem, StateBucket
from pyrate_limiter import Rate as PyrateRate
from throttled.asyncio import MemoryStore, RateLimiterType, Throttled, per_duration

from sdpatterns import Rate, RateLimiter

PACKAGES = ("aiolimiter", "limits", "throttled-py", "pyrate-limiter")
PEER = "aiolimiter"
COUNT, PERIOD_S = 1_000_000, 60.0  # a limit that is never reached, because the admitted request is measured
KEYS = [f"user:{number}" for number in range(100_000)]
EACH = 10_000
Ask = Callable[[str], Awaitable[Any]]


class ByKey(BucketFactory):
    """pyrate-limiter asks its user to route keys to buckets; this is the shortest way."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.clock = MonotonicClock()
        self.buckets: dict[str, Any] = {}

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        return RateItem(name, self.clock.now(), weight=weight)

    def get(self, item: RateItem) -> Any:
        bucket = self.buckets.get(item.name)
        if bucket is None:
            bucket = self.buckets[item.name] = self.make()
        return bucket


def ours() -> Ask:
    return RateLimiter("bench", Rate(COUNT, PERIOD_S)).acquire


def aiolimiter() -> Ask:
    by_key: dict[str, AsyncLimiter] = {}

    def ask(key: str) -> Awaitable[Any]:
        limiter = by_key.get(key)
        if limiter is None:
            limiter = by_key[key] = AsyncLimiter(COUNT, PERIOD_S)
        return limiter.acquire()

    return ask


def aiolimiter_unkeyed() -> Ask:
    limiter = AsyncLimiter(COUNT, PERIOD_S)
    return lambda _: limiter.acquire()


def of_limits(kind: str) -> Callable[[], Ask]:
    def make() -> Ask:
        hit = getattr(limits_strategies, kind + "RateLimiter")(MemoryStorage()).hit
        item = RateLimitItemPerMinute(COUNT)
        return lambda key: hit(item, key)

    return make


def of_throttled(kind: RateLimiterType) -> Callable[[], Ask]:
    def make() -> Ask:
        store = MemoryStore(options={"MAX_SIZE": 2_000_000})
        quota = per_duration(timedelta(seconds=PERIOD_S), COUNT, burst=COUNT)
        return Throttled(using=kind.value, quota=quota, store=store).limit

    return make


def of_pyrate(bucket: Callable[[], Any]) -> Callable[[], Ask]:
    def make() -> Ask:
        limiter = Limiter(ByKey(bucket))
        return lambda key: limiter.try_acquire_async(key, blocking=False)

    return make


def _rates() -> list[PyrateRate]:
    return [PyrateRate(COUNT, int(PERIOD_S * 1000))]


MAKERS: dict[str, Callable[[], Ask]] = {
    "sdpatterns": ours,
    "aiolimiter": aiolimiter,
    "limits fixed": of_limits("FixedWindow"),
    "limits moving": of_limits("MovingWindow"),
    "limits sliding": of_limits("SlidingWindowCounter"),
    "throttled token bucket": of_throttled(RateLimiterType.TOKEN_BUCKET),
    "throttled GCRA": of_throttled(RateLimiterType.GCRA),
    "pyrate log": of_pyrate(lambda: InMemoryBucket(_rates())),
    "pyrate GCRA": of_pyrate(lambda: StateBucket(_rates(), GCRA())),
}


async def _hit(ask: Ask, keys: list[str]) -> float:
    begin = time.perf_counter()
    for key in keys:
        await ask(key)
    return (time.perf_counter() - begin) / len(keys)


def case(runner: asyncio.Runner, ask: Ask, keys: list[str]) -> Callable[[], float]:
    """Seconds a decision over a stretch of `keys`, another one each time."""
    chance = random.Random(1)

    def run() -> float:
        start = chance.randrange(max(1, len(keys) - EACH))
        stretch = keys[start : start + EACH] if len(keys) >= EACH else keys * EACH
        return runner.run(_hit(ask, stretch))

    return run


def bytes_per_key(runner: asyncio.Runner, make: Callable[[], Ask]) -> dict[str, float]:
    gc.collect()
    tracemalloc.start()
    ask = make()
    runner.run(_hit(ask, KEYS[:1000]))
    before = tracemalloc.get_traced_memory()[0]
    rest = KEYS[1000:]
    runner.run(_hit(ask, rest))
    gc.collect()
    once = tracemalloc.get_traced_memory()[0]
    for _ in range(9):
        runner.run(_hit(ask, rest[:10_000]))
    gc.collect()
    ten = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {"after one hit": (once - before) / len(rest), "nine more add": (ten - once) / 10_000}


async def longest_pause(keys: list[str]) -> dict[str, float]:
    """CPU milliseconds of the slowest decisions while every key is new."""
    acquire = ours()
    read, spent = time.thread_time_ns, []
    for key in keys:
        begin = read()
        await acquire(key)
        spent.append(read() - begin)
    slow = sorted(spent)
    return {
        "worst_ms": slow[-1] / 1e6,
        "over_1_ms": sum(ns > 1_000_000 for ns in slow),
        "median_us": slow[len(slow) // 2] / 1e3,
    }


def main() -> None:
    words = argparse.ArgumentParser(description="The limiter in memory beside its peers.")
    words.add_argument("--rounds", type=int, default=15)
    rounds = words.parse_args().rounds
    shuffled = KEYS.copy()
    random.Random(2).shuffle(shuffled)
    with asyncio.Runner() as runner:
        one = {name: case(runner, make(), ["user:42"]) for name, make in MAKERS.items()}
        one["aiolimiter, no keys"] = case(runner, aiolimiter_unkeyed(), ["user:42"])
        found = interleaved(one, rounds)
        against_gcra = {"of_throttled_gcra": ratio(found, "sdpatterns", "throttled GCRA")}
        report("limiter_memory_1_key", found, "aiolimiter, no keys", PACKAGES, **against_gcra)
        many = {}
        for name, make in MAKERS.items():
            ask = make()
            runner.run(_hit(ask, KEYS))
            many[name] = case(runner, ask, shuffled)
        found = interleaved(many, rounds)
        del many
        gc.collect()
        held = {name: bytes_per_key(runner, make) for name, make in MAKERS.items()}
        for name, figures in held.items():
            once, more = figures["after one hit"], figures["nine more add"]
            print(f"  {name:34} {once:8.0f} B/key {more:+8.0f} after nine more hits")
        million = [f"user:{number}" for number in range(1_000_000)]
        pauses = [runner.run(longest_pause(million)) for _ in range(3)]
        median_worst = statistics.median(pause["worst_ms"] for pause in pauses)
        report(
            "limiter_memory_100k_keys",
            found,
            PEER,
            PACKAGES,
            of_throttled_gcra=ratio(found, "sdpatterns", "throttled GCRA"),
            bytes_per_key=held,
            growing_to_1000000_keys={"runs": pauses, "median_of_worst_ms": median_worst},
        )


if __name__ == "__main__":
    main()
