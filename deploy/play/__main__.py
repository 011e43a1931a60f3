"""`python -m deploy.play`: the chart in pods on this machine, tried while customers buy, and taken down."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from deploy.checks.rendering import Variant, rendered
from deploy.play import images, operating, podman
from deploy.play.cluster import Cluster, NotReady
from deploy.play.purchases import PER_S, Customers
from deploy.play.translate import World, translated
from sdpatterns.testing.load import LoadResult
from shop.settings import PUBLIC, PUBLIC_PORT

STORES = ("postgres", "valkey")
VERSIONS = ("v1", "v2")
LOGS = Path(".cache", "pods")
_SETTLES_S = 60.0
_PACE_S, _QUICK_S, _PER_S_MIN = 5.0, 2.5, 0.5  # half of the time that a checkout has


class Row(NamedTuple):
    """One step, as the table at the end shows it."""

    step: str
    took_s: float
    said: str
    kept: bool


class Trial:
    """All steps, one after the other."""

    def __init__(self, *, short: bool, per_s: float, logs: Path, stays: bool = False) -> None:
        self._per_s = per_s
        self._stays = stays
        self._logs = logs
        self.rows: list[Row] = []
        # The short form has two replicas of what it kills, drains and rolls; the long one of all that may have two.
        self._twice: tuple[str, ...] = (
            (PUBLIC, "ordering") if short else (PUBLIC, "catalog", "cart", "inventory", "ordering", "payments")
        )
        self._rolled = self._twice if short else (*self._twice, "fulfilment")
        self._secrets: list[str] = []

    async def run(self, place: Path) -> None:
        """Everything, and whatever happens: taken down."""
        sizes = await self._step("images built", lambda: asyncio.to_thread(images.build_images, place, VERSIONS))
        self._note("   ".join(f"{name} {size:.0f} MB" for name, size in sizes.items()))
        first = self._world(VERSIONS[0], _told)
        second = self._world(VERSIONS[1], _silent)
        self._secrets = list(first.secrets)
        await podman.remove_all(self._secrets)
        try:
            async with self._cluster(first) as cluster:
                await self._try(cluster, second)
        finally:
            await self._step("taken down", lambda: podman.remove_all(self._secrets))

    def _world(self, version: str, say: Callable[[str], None]) -> World:
        replicas = dict.fromkeys(self._twice, 2)
        return translated(rendered(Variant(more=images.values(version, replicas))), say)

    @asynccontextmanager
    async def _cluster(self, world: World) -> AsyncIterator[Cluster]:
        await podman.podman("network", "create", podman.NETWORK)
        for name, content in world.secrets.items():
            await podman.podman("secret", "create", name, "-", stdin=content)
        cluster = Cluster(world, self._logs)
        asking = asyncio.create_task(cluster.keep_asking())
        try:
            yield cluster
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await cluster.keep_logs()
            await cluster.aclose()

    async def _try(self, cluster: Cluster, second: World) -> None:
        shop = [name for name in cluster.pods if name not in STORES]
        await self._step("Postgres and Valkey ready", lambda: cluster.start_all(STORES))
        await self._step("schema Job", cluster.run_jobs)
        await self._step("all pods of the shop ready", lambda: cluster.start_all(shop))
        pods = [pod.name for found in cluster.pods.values() for pod in found]
        memory = await podman.memory_mib(pods)
        self._note(f"{len(pods)} pods, {sum(memory.values()):.0f} MiB; one of the shop {_mean(memory):.0f} MiB")
        customers = Customers(lambda: cluster.addresses(PUBLIC, PUBLIC_PORT))
        try:
            await self._step("one purchase", lambda: customers.buy(0))
            if self._stays:
                await self._step("pods stay", lambda: _told_to_end(operating.told(cluster)))
            else:
                await self._disturb(cluster, second, customers)
            await self._invariants(customers)
        finally:
            await customers.aclose()

    async def _disturb(self, cluster: Cluster, second: World, customers: Customers) -> None:
        await self._pace(customers)
        for step, work, may_fail in self._disturbances(cluster, second):
            await self._disturbed(customers, step, work, may_fail=may_fail)

    async def _pace(self, customers: Customers) -> None:
        """Find a pace that the machine carries: what fails later is then due to what is done to the shop."""

        async def slower() -> LoadResult:
            while True:
                customers.failed.clear()
                result = await customers.during(lambda: asyncio.sleep(_PACE_S), self._per_s)
                is_carried = not (customers.failed or result.failed) and result.latency_s(0.95) < _QUICK_S
                if is_carried or self._per_s < 2 * _PER_S_MIN:
                    return result
                self._per_s /= 2

        result: LoadResult = await self._step("customers buy", slower)
        self._note(
            f"{result.requests} purchases, {self._per_s:g} per second, the slowest {result.latency_s(1):.1f} s",
            kept=not (customers.failed or result.failed),
        )

    def _disturbances(self, cluster: Cluster, second: World) -> list[tuple[str, Callable[[], Awaitable[Any]], bool]]:
        async def roll() -> None:
            for name in self._rolled:
                await cluster.roll(name, second)

        return [
            ("a pod of ordering killed", lambda: cluster.kill(cluster.pods["ordering"][0]), True),
            ("a pod of the gateway drained", lambda: self._drained(cluster), False),
            (f"{', '.join(self._rolled)} rolled to {VERSIONS[1]}", roll, False),
        ]

    async def _drained(self, cluster: Cluster) -> None:
        await cluster.drain(cluster.pods[PUBLIC][0])
        await cluster.start(PUBLIC)

    async def _disturbed(
        self, customers: Customers, step: str, work: Callable[[], Awaitable[Any]], *, may_fail: bool
    ) -> None:
        """A step under load: no purchase fails, and no request but those of a pod that was killed."""
        customers.failed.clear()
        result: LoadResult = await self._step(step, lambda: customers.during(work, self._per_s))
        kept = not result.failed and (may_fail or not customers.failed)
        again = f"{customers.failed.total()} requests made again {dict(customers.failed) or ''}"
        self._note(
            f"{result.requests} purchases, {result.failed} failed {dict(result.errors) or ''}; {again}", kept=kept
        )

    async def _invariants(self, customers: Customers) -> None:
        async def settled() -> dict[str, Any]:
            ends_s = time.monotonic() + _SETTLES_S
            while True:
                answer = await customers.http.get("/control/api/invariants")
                found: dict[str, Any] = answer.json() if answer.is_success else {}
                if (found and all(each["holds"] for each in found.values())) or time.monotonic() > ends_s:
                    return found
                await asyncio.sleep(1)

        found = await self._step("invariants", settled)
        broken = [f"{name}: {each['detail']}" for name, each in found.items() if not each["holds"]]
        self._note(
            "; ".join(broken) or f"{len(found)} hold after {customers.bought} purchases",
            kept=bool(found) and not broken,
        )

    async def _step(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        print(f"... {name}", flush=True)
        began_s, kept = time.monotonic(), False
        try:
            found = await work()
            kept = True
            return found
        finally:
            self.rows.append(Row(name, time.monotonic() - began_s, "", kept))

    def _note(self, said: str, *, kept: bool = True) -> None:
        last = self.rows[-1]
        self.rows[-1] = last._replace(said=said, kept=last.kept and kept)

    def table(self) -> str:
        """All steps with their figures."""
        width = max(len(row.step) for row in self.rows)
        return "\n".join(
            f"{'kept  ' if row.kept else 'BROKEN'} {row.step:{width}} {row.took_s:6.1f} s  {row.said}"
            for row in self.rows
        )


async def _told_to_end(words: str) -> None:
    """Say some words, and wait for Ctrl-C or SIGTERM."""
    print(words, flush=True)
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    await end.wait()


def _mean(memory: dict[str, float]) -> float:
    own = [size for pod, size in memory.items() if not pod.startswith(STORES)]
    return sum(own) / len(own) if own else 0.0


def _told(line: str) -> None:
    print(line)


def _silent(_line: str) -> None:
    """The second version is translated by the same rules."""


async def played(*, short: bool, per_s: float, logs: Path, stays: bool) -> int:
    """The whole trial; gives the exit code."""
    trial, began_s = Trial(short=short, per_s=per_s, logs=logs, stays=stays), time.monotonic()
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        with tempfile.TemporaryDirectory(prefix="shop-play-") as place:
            podman.configured(Path(place))
            await trial.run(Path(place))
    except (NotReady, podman.PodmanFailed) as failure:
        print(f"failed: {failure}", file=sys.stderr)
    finally:
        print(f"\n{trial.table()}\n{time.monotonic() - began_s:.0f} s in all; logs in {logs}", flush=True)
    return 0 if all(row.kept for row in trial.rows) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Play the chart; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.play", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer replicas, and fewer services rolled")
    parser.add_argument("--per-s", type=float, default=PER_S, help=f"purchases per second (default: {PER_S:g})")
    parser.add_argument("--stay", action="store_true", help="try nothing: the pods stay until Ctrl-C, to be operated")
    parser.add_argument("--logs", type=Path, default=LOGS, help=f"where each pod's log is kept (default: {LOGS})")
    told = parser.parse_args(argv)
    if problem := podman.why_not():
        print(f"pods cannot be played here: {problem}", file=sys.stderr)
        return 2
    try:
        told.logs.mkdir(parents=True, exist_ok=True)
        for old in told.logs.glob("*.log"):
            old.unlink()
        return asyncio.run(played(short=told.short, per_s=told.per_s, logs=told.logs, stays=told.stay))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
