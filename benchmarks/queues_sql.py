"""A queue on Postgres beside pgqueuer: jobs of which nothing is to be done, and how soon a waiting worker has one.

Both claim and complete in batches of 200, through asyncpg, in one process, on one server. First the statements alone,
as a loop around them uses them; then jobs, run by a `Worker` with 200 places and by pgqueuer's manager. Beside them is
a loop of one's own with a task for each message. Then an idle worker gets a job every few hundredths of a second;
measured is from before it is published until it begins.

    python benchmarks/queues_sql.py [rounds]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
from harness import interleaved, report
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import EntrypointExecutionParameter, Queries
from pgqueuer.types import QueueExecutionMode

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.messaging.jobs import Jobs, Worker
from sdpatterns.ports.queue import Complete, Message
from sdpatterns.testing import servers

BATCH, BATCHES, PICKUPS = 200, 25, 30
IDLE_S = 0.02
LEASE = timedelta(seconds=30)
PACKAGES = ["sdpatterns", "sqlalchemy", "asyncpg", "pgqueuer"]
PAYLOAD = b"x" * 50


async def nothing() -> None:
    """The work of a message."""


class Ours:
    def __init__(self, url: str) -> None:
        self.backend = SQLBackend(url.replace("postgresql:", "postgresql+asyncpg:"))
        self.queue = self.backend.queue("bench")

    async def open(self) -> None:
        await self.backend.create()

    async def close(self) -> None:
        await self.backend.__aexit__(None, None, None)

    async def drain(self, *, in_tasks: bool = False) -> float:
        for _ in range(BATCHES):
            await self.queue.publish([Message(id=uuid.uuid4().hex, payload=PAYLOAD) for _ in range(BATCH)])
        began, done = time.perf_counter(), 0
        while claims := (await self.queue.claim(BATCH, 30.0)).messages:
            if in_tasks:
                async with asyncio.TaskGroup() as tasks:
                    for _ in claims:
                        tasks.create_task(nothing())
            await self.queue.settle([Complete(claimed) for claimed in claims])
            done += len(claims)
        assert done == BATCH * BATCHES
        return (time.perf_counter() - began) / done

    async def run_jobs(self) -> float:
        jobs, done, all_done = Jobs("jobs", backend=self.backend), 0, asyncio.Event()

        @jobs.job
        async def noop() -> None:
            nonlocal done
            done += 1
            if done == BATCH * BATCHES:
                all_done.set()

        for _ in range(BATCHES):
            await jobs.publish([noop.message() for _ in range(BATCH)])
        began = time.perf_counter()
        # At the end of the block all are settled.
        async with Worker(jobs, concurrency=BATCH):
            await all_done.wait()
        return (time.perf_counter() - began) / done

    async def pickup(self) -> float:
        jobs, begun, times = Jobs("pickup", backend=self.backend), asyncio.Event(), []

        @jobs.job
        async def note() -> None:
            begun.set()

        async with Worker(jobs, concurrency=10):
            # The first one says that it runs.
            for turn in range(PICKUPS + 1):
                await asyncio.sleep(IDLE_S)
                begun.clear()
                began = time.perf_counter()
                await note.enqueue()
                await begun.wait()
                if turn:
                    times.append(time.perf_counter() - began)
        return statistics.median(times)


class Theirs:
    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> None:
        self.connection = await asyncpg.connect(self.url)
        self.queries = Queries(AsyncpgDriver(self.connection))
        await self.queries.install()

    async def close(self) -> None:
        await self.connection.close()

    async def _fill(self) -> None:
        for _ in range(BATCHES):
            await self.queries.enqueue(["noop"] * BATCH, [PAYLOAD] * BATCH, [0] * BATCH)

    async def drain_queries(self) -> float:
        await self._fill()
        points = {"noop": EntrypointExecutionParameter(concurrency_limit=0)}
        began, done, worker = time.perf_counter(), 0, uuid.uuid4()
        while jobs := await self.queries.dequeue(BATCH, points, worker, None, LEASE):
            await self.queries.log_jobs([(job, "successful", None) for job in jobs])
            done += len(jobs)
        assert done == BATCH * BATCHES
        return (time.perf_counter() - began) / done

    async def drain_manager(self) -> float:
        await self._fill()
        connection = await asyncpg.connect(self.url)
        manager, done = PgQueuer(AsyncpgDriver(connection)), 0

        @manager.entrypoint("noop")
        async def noop(_: Job) -> None:
            nonlocal done
            done += 1

        began = time.perf_counter()
        await manager.qm.run(batch_size=BATCH, mode=QueueExecutionMode.drain, heartbeat_timeout=LEASE)
        took = time.perf_counter() - began
        await connection.close()
        assert done == BATCH * BATCHES
        return took / done

    async def pickup(self) -> float:
        connection = await asyncpg.connect(self.url)
        manager, claimed = PgQueuer(AsyncpgDriver(connection)), asyncio.Event()

        @manager.entrypoint("pickup")
        async def pickup(_: Job) -> None:
            claimed.set()

        running = asyncio.ensure_future(manager.qm.run(batch_size=10, heartbeat_timeout=LEASE))
        times = []
        # The first one says that it runs.
        for turn in range(PICKUPS + 1):
            await asyncio.sleep(IDLE_S)
            claimed.clear()
            began = time.perf_counter()
            await self.queries.enqueue("pickup", PAYLOAD)
            await claimed.wait()
            if turn:
                times.append(time.perf_counter() - began)
        manager.qm.shutdown.set()
        await running
        await connection.close()
        return statistics.median(times)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with servers.postgres_server() as url, asyncio.Runner() as runner:
        ours, theirs = Ours(url), Theirs(url)
        runner.run(ours.open())
        runner.run(theirs.open())

        def case(work: Callable[[], Coroutine[Any, Any, float]]) -> Callable[[], float]:
            return lambda: runner.run(work())

        statements = {"sdpatterns": case(ours.drain), "pgqueuer": case(theirs.drain_queries)}
        jobs = {
            "sdpatterns": case(ours.run_jobs),
            "sdpatterns, messages": case(partial(ours.drain, in_tasks=True)),
            "pgqueuer": case(theirs.drain_manager),
        }
        interleaved(statements, 1)
        report("queues_postgres_statements", interleaved(statements, rounds), "pgqueuer", PACKAGES)
        report("queues_postgres_jobs", interleaved(jobs, rounds), "pgqueuer", PACKAGES)
        pickups = {"sdpatterns": case(ours.pickup), "pgqueuer": case(theirs.pickup)}
        report("queues_postgres_pickup", interleaved(pickups, rounds), "pgqueuer", PACKAGES)
        runner.run(theirs.close())
        runner.run(ours.close())


if __name__ == "__main__":
    main()
