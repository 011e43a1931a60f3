"""The shop as processes: one for each replica of each deployable, watched until they are drained in order."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from shop.background import alongside
from shop.failures import StartFailed
from shop.serving import Listener, address, bind
from shop.settings import ALONE, DEPLOYABLES, PUBLIC, WATCHING, FleetServers
from shop.stage.data_lock import locked
from shop.stage.replica import Plan
from shop.stage.worker import Worker

# A service that calls others ends before them; those that are not named here come last.
_DRAIN_ORDER = (("gateway",), ("control", "ordering"), ("fulfilment",))


@asynccontextmanager
async def supervised(
    *, port: int, data_dir: Path, seed: int, replicas: int, with_fleet: bool, visitors: int = 0
) -> AsyncIterator[str]:
    """The shop as processes, answering at the URL during the block; StartFailed says why it cannot.

    Keeps: when the block begins every replica answers; one that dies is started again; at the end the
    gateways finish what is in flight, and then the others. Nothing outlives this process, however it ends.
    """
    if os.name != "posix":
        raise StartFailed("--procs passes sockets to processes, which this system cannot do; leave it out")
    async with AsyncExitStack() as stack:
        public = stack.enter_context(bind(port))
        lock = stack.enter_context(locked(data_dir))
        plan = Plan(data_dir=str(data_dir), seed=seed, public=address(public), fleet=None, visitors=visitors)
        if with_fleet:
            plan = replace(plan, fleet=asdict(await _fleet(stack, data_dir, replicas)))
        workers = Workers(stack.enter_context(_workers(plan, replicas, public, lock)))
        stack.push_async_callback(workers.drain, public)
        with workers.listed(data_dir / "processes.json"):
            await workers.open()
            async with alongside(workers.replace(), *(worker.keep() for worker in workers.workers)):
                yield address(public)


async def _fleet(stack: AsyncExitStack, data_dir: Path, replicas: int) -> FleetServers:
    from shop.stage.fleet_servers import connections_needed, fleet_servers, make_databases

    servers = stack.enter_context(fleet_servers(data_dir, connections_max=connections_needed(replicas)))
    await make_databases(servers)
    say("ready: Postgres, Valkey")
    return servers


class Workers:
    """All workers of the shop."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers
        self._wanted: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        for worker in workers:
            if worker.deployable == WATCHING:
                worker.on_request = self._wanted.put_nowait

    async def open(self) -> None:
        """Start them all: the first replicas, which make tables and fill them, before the others."""
        first = [worker for worker in self.workers if worker.replica == 1]
        others = [worker for worker in self.workers if worker.replica > 1]
        for wave in filter(None, (first, others)):
            for failure in await asyncio.gather(*(worker.open() for worker in wave), return_exceptions=True):
                if failure is not None:
                    raise failure
            say(f"ready: {', '.join(worker.name for worker in wave)}")

    async def replace(self) -> None:
        """Have replicas of other releases in place of those that run, as the control room asks; never ends."""
        while True:
            wanted = await self._wanted.get()
            for worker in self.workers:
                if (worker.deployable, worker.replica) == (wanted["deployable"], wanted["replica"]):
                    await worker.release(wanted["release"])

    async def drain(self, public: Listener) -> None:
        """End them all, wave by wave; what is in flight is finished."""
        public.close()  # otherwise callers would connect and wait for an answer that never comes
        waves = [[worker for worker in self.workers if worker.deployable in names] for names in _DRAIN_ORDER]
        waves.append([worker for worker in self.workers if not any(worker in wave for wave in waves)])
        for wave in waves:
            await asyncio.gather(*(worker.drain() for worker in wave))

    @contextmanager
    def listed(self, path: Path) -> Iterator[None]:
        """A file that says who runs, kept up to date during the block."""

        def write() -> None:
            listed = {"supervisor": os.getpid(), "replicas": [worker.view() for worker in self.workers]}
            draft = path.with_suffix(".new")
            draft.write_text(json.dumps(listed, indent=1))
            draft.replace(path)

        for worker in self.workers:
            worker.on_start = write
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _workers(plan: Plan, replicas: int, public: Listener, lock: int) -> Iterator[list[Worker]]:
    """A worker for each replica, each on ports of its own: those after the public one, or any."""
    port = public.getsockname()[1]
    workers: list[Worker] = []
    addresses: dict[str, list[str]] = {}
    for deployable, contexts in DEPLOYABLES.items():
        for number in range(1, 1 + (1 if deployable in ALONE else replicas)):
            own = replace(plan, deployable=deployable, replica=number, addresses=addresses)
            workers.append(Worker(own, lock, public if deployable == PUBLIC else None, say))
            for context in contexts:
                port += 1
                listener = bind(port, or_any=True)
                addresses.setdefault(context, []).append(address(listener))
                workers[-1].listen_at(context, listener)
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close_listeners()


def say(words: str) -> None:
    """One line for the terminal, on the standard error; the standard output has only what was asked for."""
    print(f"shop: {words}", file=sys.stderr, flush=True)
