"""Sagas whose workers die (SIGKILL) at each of their calls of the log, of the queue and of the provider, in turn.

    python -m tests.crash.saga_deaths --rounds 500 --out benchmarks/results/saga_deaths.json

A round is three orders, of which the shipper declines one, and two workers, each of which dies at one of its calls,
before it or after it. When both are dead, or all runs have ended, two workers start that do not die. The judge reads
the journals, and the book of the provider, which is a process that no fault strikes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from tests.crash.matrix import BACKENDS, Store, command, stores
from tests.crash.nursery import Child, Nursery
from tests.crash.patterns import SagaProgram
from tests.crash.processes import report
from tests.crash.provider import Provider
from tests.crash.site import AWAY, Site

ORDERS = 3
Told: TypeAlias = Callable[[list["Round"]], None]
CALLS = 60
"""A worker that drives all three orders makes about so many."""
LEASE_S = 8.0
ROUND_MAX_S = 1200.0


class Round(NamedTuple):
    """What one round came to."""

    orders: int
    lost: int
    double: int
    again: int
    seconds: float
    """From the restart until every run had ended."""
    deaths: Counter[str]


async def played(kind: str, store: Store, nursery: Nursery, number: int, lease_s: float = LEASE_S) -> Round:
    """One round; `number` says where the first worker dies."""
    draw = random.Random(f"{kind} {number}")
    deaths = [(1 + number // 2 % CALLS, number % 2 == 0), (draw.randint(1, CALLS), draw.random() < 0.5)]
    async with Provider() as provider, contextlib.AsyncExitStack() as stack:
        words: dict[str, Any] = {"name": f"saga-{uuid.uuid4().hex[:8]}", "url": store.url, "book_url": store.book_url}
        words |= {"port": provider.port, "lease_s": lease_s}
        program = SagaProgram(Site(**words))
        stack.push_async_callback(program.site.close)
        await program.feed(ORDERS)
        children: list[Child] = []
        stack.callback(lambda: [child.kill() for child in children if child.lives])
        children += [nursery.start({"program": "saga", **words, "death": death}) for death in deaths]
        await until(lambda: not any(child.lives for child in children), program)
        began_s = time.monotonic()
        children += [nursery.start({"program": "saga", **words}) for _ in deaths]
        await until(lambda: False, program)
        seconds = time.monotonic() - began_s
        verdict = await program.site.insist(lambda: program.judge(provider))
        if verdict.lost:
            report(f"{kind} {number}: {verdict} {await program.statuses()} {await program.sagas.queue.parked(ORDERS)}")
        return Round(verdict.items, verdict.lost, verdict.double, verdict.again, seconds, provider.deaths)


async def until(what: Any, program: SagaProgram) -> None:
    """Wait for it, or until all runs have ended."""
    limit_s = time.monotonic() + ROUND_MAX_S
    while not what():
        assert time.monotonic() < limit_s, "the runs do not end"
        with contextlib.suppress(*AWAY):
            if await program.is_idle():
                return
        await asyncio.sleep(0.05)


def figures(rounds: list[Round]) -> dict[str, Any]:
    """As they are committed."""
    seconds = sorted(each.seconds for each in rounds)
    found: dict[str, Any] = {"lease_s": LEASE_S, "rounds": len(rounds)}
    found |= {word: sum(getattr(each, word) for each in rounds) for word in ("orders", "lost", "double", "again")}
    places = sum((each.deaths for each in rounds), Counter[str]())
    found |= {"deaths": places.total(), "p50_s": round(statistics.median(seconds), 2), "max_s": round(seconds[-1], 2)}
    return found | {"places": dict(sorted(places.items()))}


async def many(
    kind: str,
    store: Store,
    nursery: Nursery,
    rounds: range,
    at_once: int,
    told: Told = lambda _: None,
    lease_s: float = LEASE_S,
) -> list[Round]:
    """These rounds, several of them at the same time; what was found so far is told again and again."""
    site = Site(name="tables", url=store.url, book_url=store.book_url, port=0, lease_s=LEASE_S)
    await site.create()
    await site.close()
    found: list[Round] = []
    numbers = iter(rounds)

    async def one_after_another() -> None:
        for number in numbers:
            found.append(await played(kind, store, nursery, number, lease_s))
            if len(found) % 10 == 0 or len(found) == len(rounds):
                told(found)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_another())
    return found


def keep(out: Path, kind: str, rounds: list[Round]) -> None:
    """Add what was found on a store to a file of results."""
    result = figures(rounds)
    report(f"{kind}: {result}")
    found = json.loads(out.read_text())["backends"] if out.exists() else {}
    facts = {"command": command(), "backends": found | {f"{kind}, lease {LEASE_S:g} s": result}}
    out.write_text(json.dumps(facts, indent=1) + "\n")


async def main(rounds: range, kinds: list[str], at_once: int, out: Path) -> None:
    """Play the rounds on each backend."""

    with stores(kinds) as found, Nursery() as nursery:
        for kind in kinds:
            await many(kind, found[kind], nursery, rounds, at_once, partial(keep, out, kind))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="go on behind a run that ended with this round")
    parser.add_argument("--backends", nargs="*", default=list(BACKENDS))
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    asyncio.run(main(range(given.first, given.first + given.rounds), given.backends, given.at_once, given.out))
