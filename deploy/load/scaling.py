"""How much the shop does with 1, 2 and 4 replicas of each service, and the Universal Scalability Law through it.

    python -m deploy.load.scaling               about 8 minutes; writes benchmarks/results/shop_scaling.json
    python -m deploy.load.scaling --step-s 2    the same with short steps, which say less

Requests come when they are due (an open loop), faster from step to step, until the criteria break. The last rate that
held, refined once, is what the shop sustains. The load comes from the same machine and uses its cores too.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import psutil

from benchmarks.harness import RESULTS, machine
from deploy.load.__main__ import own_shop
from sdpatterns.testing.load import Criteria, LoadResult, LoadStage, Profile, ScalabilityLaw, in_flight, run_load

REPLICAS = (1, 2, 4)
KINDS = {
    "products": (40.0, Criteria(failed_max=0.01, p95_s=0.5)),
    "purchases": (3.0, Criteria(failed_max=0.01, p95_s=2.0)),
}
"""Each kind of request: the rate at which the first shop begins, and what is good enough."""
GROWTH = 1.35
STEP_S = 8.0
REQUESTS_MIN = 12  # in a step; the slowest ones are a second longer each time
PER_S_MIN = 0.3
STEPS_MAX = 14
PAUSE_S = 1.0
CLIENTS = 40  # addresses, because the shop limits each client
TIMEOUT_S = 10.0

WHERE = {"name": "A Customer", "line1": "1 Street", "city": "Town", "postcode": "12345", "country": "DE"}
CARD = {"number": "4242424242424242", "expiry": "12/39", "cvc": "123"}

Request = Callable[[int], Awaitable[None]]


class Step(NamedTuple):
    """What one rate came to."""

    per_s: float
    result: LoadResult
    mean_s: float
    cpu_s: float
    """Of the shop, for each request."""


class Customers:
    """Requests to one shop, each from one of several loopback addresses."""

    def __init__(self, sessions: list[aiohttp.ClientSession]) -> None:
        self._sessions = itertools.cycle(sessions)
        self.spent_s: list[float] = []

    async def products(self, _number: int) -> None:
        """Read a page of products."""
        await self._timed(self._ask(next(self._sessions), "GET", "/api/v1/products?limit=12", 200))

    async def purchases(self, _number: int) -> None:
        """Put one thing into a new cart, and buy it."""
        await self._timed(self._buy(next(self._sessions), secrets.token_hex(8)))

    async def _buy(self, session: aiohttp.ClientSession, cart_id: str) -> None:
        sku = f"SP-{random.randrange(20, 4_000):05d}"
        await self._ask(session, "PUT", f"/api/v1/carts/{cart_id}/items/{sku}", 200, {"quantity": 1})
        body = {"cart_id": cart_id, "email": "a@example.org", "address": WHERE, "card": CARD}
        await self._ask(session, "POST", "/api/v1/checkout", 201, body, {"Idempotency-Key": f'"{cart_id}"'})

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        status: int,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        async with session.request(method, path, json=body, headers=headers) as answer:
            await answer.read()
            if answer.status != status:
                raise OSError(f"{path} answered {answer.status}")

    async def _timed(self, asked: Awaitable[None]) -> None:
        began_s = time.monotonic()
        await asked
        self.spent_s.append(time.monotonic() - began_s)


@asynccontextmanager
async def customers(url: str) -> AsyncIterator[Customers]:
    """Customers of the shop at this address."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    sessions = [
        aiohttp.ClientSession(
            url, timeout=timeout, connector=aiohttp.TCPConnector(limit=0, local_addr=(f"127.0.1.{number}", 0))
        )
        for number in range(1, CLIENTS + 1)
    ]
    try:
        yield Customers(sessions)
    finally:
        for session in sessions:
            await session.close()


def _cpu_s() -> float:
    """What the shop has computed so far: it is all that this process has started."""
    used = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return sum(each.user + each.system for each in used)


async def _step(come: Customers, request: Request, per_s: float, at_least_s: float) -> Step:
    for_s = max(at_least_s, REQUESTS_MIN / per_s)
    come.spent_s.clear()
    before_s = _cpu_s()
    result = await run_load(request, Profile(LoadStage(for_s=for_s, per_s=per_s)))
    spent_s = come.spent_s
    step = Step(per_s, result, sum(spent_s) / max(1, len(spent_s)), (_cpu_s() - before_s) / max(1, result.requests))
    print(f"    {per_s:6.1f}/s: {result}", flush=True)
    await asyncio.sleep(PAUSE_S)
    return step


async def sustained(come: Customers, request: Request, criteria: Criteria, first_per_s: float, for_s: float) -> Step:
    """The highest rate that keeps the criteria; the first one is halved until it does."""
    await _step(come, request, first_per_s, for_s / 2)  # connections, caches, prepared statements
    good, per_s = None, first_per_s
    for _ in range(STEPS_MAX):
        step = await _step(come, request, per_s, for_s)
        if step.result.broken(criteria):
            if good is not None or per_s < PER_S_MIN:
                break
            per_s /= 2
        else:
            good, per_s = step, per_s * GROWTH
    if good is None:
        raise SystemExit(f"the shop does not sustain {per_s:.2f}/s")
    between = await _step(come, request, math.sqrt(good.per_s * per_s), for_s)
    return good if between.result.broken(criteria) else between


async def measured(url: str, first: dict[str, float], for_s: float) -> dict[str, dict[str, Any]]:
    """What one shop sustains of each kind."""
    found = {}
    async with customers(url) as come:
        for kind, per_s in first.items():
            print(f"  {kind}", flush=True)
            step = await sustained(come, getattr(come, kind), KINDS[kind][1], per_s, for_s)
            first[kind] = step.per_s / GROWTH**2  # where the next shop begins
            result = step.result
            found[kind] = {
                "per_s": round(step.per_s, 1),
                "requests": result.requests,
                "failed": result.failed,
                "mean_ms": round(step.mean_s * 1000, 1),
                "p50_ms": round(result.latency_s(0.5) * 1000, 1),
                "p95_ms": round(result.latency_s(0.95) * 1000, 1),
                "cpu_ms": round(step.cpu_s * 1000, 1),
                "in_flight": round(in_flight(step.per_s, step.mean_s), 1),
            }
    return found


def _memory_mib() -> float:
    """What the shop has of the memory for itself alone."""
    return sum(process.memory_full_info().uss for process in psutil.Process().children(recursive=True)) / 2**20


def laws(shops: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The law through the points of each kind."""
    kinds: dict[str, list[tuple[float, float]]] = {}
    for replicas, shop in shops.items():
        for kind, step in shop["kinds"].items():
            kinds.setdefault(kind, []).append((int(replicas), step["per_s"]))
    fitted = {kind: ScalabilityLaw.fit(points)._asdict() for kind, points in kinds.items()}
    return {kind: {name: round(value, 4) for name, value in law.items()} for kind, law in fitted.items()}


def main(for_s: float) -> dict[str, Any]:
    """Run all shops; gives what is kept."""
    shops: dict[str, Any] = {}
    first = {kind: per_s for kind, (per_s, _) in KINDS.items()}
    for replicas in REPLICAS:
        print(f"{replicas} of each service", flush=True)
        with own_shop("--procs", "--replicas", str(replicas)) as url:
            kinds = asyncio.run(measured(url, first, for_s))
            processes = len(psutil.Process().children(recursive=True))
            shops[str(replicas)] = {"processes": processes, "memory_mib": round(_memory_mib()), "kinds": kinds}
    limits = {
        kind: {"failed_max": criteria.failed_max, "p95_s": criteria.p95_s} for kind, (_, criteria) in KINDS.items()
    }
    made = machine(["aiohttp", "uvicorn", "sqlalchemy"])
    return {**made, "step_s": for_s, "criteria": limits, "shops": shops, "laws": laws(shops)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-s", type=float, default=STEP_S, help=f"how long a rate is held (default: {STEP_S:g})")
    facts = main(parser.parse_args().step_s)
    print(json.dumps(facts["laws"], indent=1))
    (RESULTS / "shop_scaling.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
