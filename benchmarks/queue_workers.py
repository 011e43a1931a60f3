"""Runs no-op jobs of one library on a Redis and prints what it measured, as JSON. Started by `queues_redis.py`.

    python queue_workers.py LIBRARY URL jobs 2000      seconds for each of 2,000 jobs that were waiting
    python queue_workers.py LIBRARY URL pickup 100     seconds until an idle worker begins a job, a hundred times

Each library runs in an environment of its own, because some of their requirements exclude each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

AT_ONCE = 200
THREADS = 8
PAUSE_S = 0.01

Send = Callable[[], Awaitable[Any]]


class Meter:
    """Notes when each job begins."""

    def __init__(self, count: int, *, is_idle: bool) -> None:
        self._count = count
        self.is_idle = is_idle
        self.begun: list[float] = []
        self.done = threading.Event()

    def tick(self) -> None:
        """A job has begun."""
        self.begun.append(time.perf_counter())
        if len(self.begun) >= self._count:
            self.done.set()

    @property
    def seconds_each(self) -> float:
        """From the first job to the last."""
        return (self.begun[-1] - self.begun[0]) / (len(self.begun) - 1)


class Library:
    """How to send a job, and how to run a worker until it is cancelled."""

    packages: tuple[str, ...]

    def __init__(self, url: str, meter: Meter) -> None:
        self.url = url
        self.meter = meter

    async def open(self) -> None:
        """Connect."""

    async def send(self, count: int) -> None:
        """Send so many jobs."""
        raise NotImplementedError

    async def work(self) -> None:
        """Run jobs."""
        raise NotImplementedError


class Sdpatterns(Library):
    """Typed jobs and their worker, as a program uses them."""

    packages = ("redis", "hiredis")

    async def open(self) -> None:
        from sdpatterns.backends.redis import RedisBackend
        from sdpatterns.messaging.jobs import Jobs

        self.jobs = Jobs("bench", backend=RedisBackend.from_url(self.url, warns_of_loss=False))

        @self.jobs.job
        async def noop() -> None:
            self.meter.tick()

        self.noop = noop

    async def send(self, count: int) -> None:
        if count == 1:
            await self.noop.enqueue()
        else:
            await self.jobs.publish([self.noop.message() for _ in range(count)])

    async def work(self) -> None:
        from sdpatterns.messaging.jobs import Worker

        await Worker(self.jobs, concurrency=AT_ONCE, drain_s=0.0).run()


class Messages(Library):
    """Two loops that claim 200 messages, run each in a task of its own, and complete them together; one to pick up."""

    packages = ("redis", "hiredis")

    async def open(self) -> None:
        from sdpatterns.backends.redis import RedisBackend

        self.backend = RedisBackend.from_url(self.url, warns_of_loss=False)
        self.queue = self.backend.queue("bench")
        self.sent = 0

    async def send(self, count: int) -> None:
        from sdpatterns.ports.queue import Message

        self.sent += count
        numbers = range(self.sent - count, self.sent)
        await self.queue.publish([Message(id=f"job-{number:08}", payload=b"{}") for number in numbers])

    async def noop(self, _: Any) -> None:
        self.meter.tick()

    async def work(self) -> None:
        await asyncio.gather(*(self.loop() for _ in range(1 if self.meter.is_idle else 2)))

    async def loop(self) -> None:
        from sdpatterns.ports.queue import Complete

        async with self.backend.signals.subscribe(self.queue.topic) as news:
            while True:
                claims = await self.queue.claim(AT_ONCE, 30.0)
                if claims.messages:
                    async with asyncio.TaskGroup() as tasks:
                        for claimed in claims.messages:
                            tasks.create_task(self.noop(claimed))
                    await self.queue.settle([Complete(claimed) for claimed in claims.messages])
                elif claims.due_in_s != 0:
                    await news.wait(1.0)


class Arq(Library):
    """Polls every millisecond, where half a second is its default."""

    packages = ("arq", "redis", "hiredis")

    async def open(self) -> None:
        from arq.connections import RedisSettings, create_pool

        self.settings = RedisSettings.from_dsn(self.url)
        self.pool = await create_pool(self.settings)

    async def send(self, count: int) -> None:
        for _ in range(count):
            await self.pool.enqueue_job("noop")

    async def work(self) -> None:
        from arq.worker import Worker, func

        async def noop(_: Any) -> None:
            self.meter.tick()

        job: Any = func(noop, name="noop", keep_result=0)
        worker = Worker(
            [job],
            redis_settings=self.settings,
            max_jobs=AT_ONCE,
            poll_delay=0.001,
            handle_signals=False,
            job_timeout=60,
        )
        await worker.async_run()


class Saq(Library):
    """Keeps no results."""

    packages = ("saq", "redis", "hiredis")

    async def open(self) -> None:
        from saq import Queue

        self.queue = Queue.from_url(self.url)
        await self.queue.connect()

    async def send(self, count: int) -> None:
        for _ in range(count):
            await self.queue.enqueue("noop", ttl=-1)

    async def work(self) -> None:
        from saq import Worker

        async def noop(_: Any) -> None:
            self.meter.tick()

        worker: Any = Worker(self.queue, functions=[("noop", noop)], concurrency=AT_ONCE)
        await worker.start()


class Taskiq(Library):
    """The broker on a list, which is its fastest and loses what a killed worker had."""

    packages = ("taskiq-redis", "taskiq", "redis", "hiredis")

    async def open(self) -> None:
        from taskiq_redis import ListQueueBroker

        self.broker = ListQueueBroker(self.url)

        @self.broker.task(task_name="noop")
        async def noop() -> None:
            self.meter.tick()

        self.noop = noop
        await self.broker.startup()

    async def send(self, count: int) -> None:
        for _ in range(count):
            await self.noop.kiq()

    async def work(self) -> None:
        from taskiq.api import run_receiver_task

        await run_receiver_task(self.broker, max_async_tasks=AT_ONCE)


class Dramatiq(Library):
    """Eight threads."""

    packages = ("dramatiq", "redis", "hiredis")

    async def open(self) -> None:
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker

        self.broker = RedisBroker(url=self.url)
        dramatiq.set_broker(self.broker)
        self.noop = dramatiq.actor(actor_name="noop")(self.meter.tick)

    async def send(self, count: int) -> None:
        for _ in range(count):
            self.noop.send()

    async def work(self) -> None:
        import dramatiq

        worker = dramatiq.Worker(self.broker, worker_threads=THREADS)
        worker.start()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(worker.stop)


LIBRARIES = {
    "sdpatterns": Sdpatterns,
    "sdpatterns-messages": Messages,
    "arq": Arq,
    "saq": Saq,
    "taskiq": Taskiq,
    "dramatiq": Dramatiq,
}


@contextlib.contextmanager
def worker_of(library: Library) -> Iterator[None]:
    task = asyncio.ensure_future(library.work())
    try:
        yield
    finally:
        task.cancel()


async def jobs(library: Library, meter: Meter, count: int) -> float:
    for start in range(0, count, AT_ONCE):
        await library.send(min(AT_ONCE, count - start))
    with worker_of(library):
        await asyncio.to_thread(meter.done.wait)
    return meter.seconds_each


async def pickup(library: Library, meter: Meter, count: int) -> list[float]:
    found = []
    with worker_of(library):
        await library.send(1)
        while not meter.begun:  # noqa: ASYNC110 - threads tick too
            await asyncio.sleep(PAUSE_S)
        for number in range(1, count + 1):
            await asyncio.sleep(2 * PAUSE_S)
            sent = time.perf_counter()
            await library.send(1)
            while len(meter.begun) <= number:  # noqa: ASYNC110 - as above
                await asyncio.sleep(PAUSE_S)
            found.append(meter.begun[number] - sent)
    return found


async def main() -> None:
    name, url, what, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    meter = Meter(count if what == "jobs" else count + 1, is_idle=what == "pickup")
    library = LIBRARIES[name](url, meter)
    await library.open()
    measured = await (jobs if what == "jobs" else pickup)(library, meter, count)
    versions = {package: importlib.metadata.version(package) for package in library.packages}
    print(json.dumps({"measured": measured, "versions": versions}), flush=True)
    # Not every worker ends when it is cancelled, and nothing is left to be done.

    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
