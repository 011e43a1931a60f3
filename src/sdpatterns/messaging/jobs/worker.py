"""Run jobs from the queue."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import cast

from anyio import CapacityLimiter

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import BLOCKING, Waiter, current
from sdpatterns.errors import BackendError
from sdpatterns.messaging.consumer import Consumer
from sdpatterns.messaging.jobs.jobs import Jobs
from sdpatterns.messaging.jobs.presence import TELL_EVERY_S, NotePresence, Presence, Task, here
from sdpatterns.messaging.jobs.record import NoteSchedule
from sdpatterns.messaging.jobs.run import JobRun
from sdpatterns.ports.queue import Claimed

__all__ = ["Worker"]


class Worker(Consumer):
    """Runs the jobs of one `Jobs`, up to `concurrency` at once: `async with worker:` or `await worker.run()`.

    A job runs again at most `lease_s` after its worker died. With `concurrency_min` the number of places follows the
    lag: see `Places`. `service` names the service in the spans of its jobs. What it keeps and costs is said in
    `Consumer`; it also says every ten seconds, in one step, that it is there and what it runs.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        concurrency: int = 50,
        concurrency_min: int | None = None,
        lease_s: float = 8.0,
        poll_s: float = 5.0,
        drain_s: float = 30.0,
        service: str | None = None,
    ) -> None:
        super().__init__(
            jobs.name,
            jobs.queue,
            jobs.signals,
            concurrency=concurrency,
            concurrency_min=concurrency_min,
            lease_s=lease_s,
            poll_s=poll_s,
            drain_s=drain_s,
        )
        self._jobs = jobs
        self._service = service
        self._threads: CapacityLimiter | None = None

    async def work(self, stop: Waiter, /) -> None:
        self._prepare()
        runtime = current()
        gone = runtime.waiter()
        worker, began_s = self._jobs.ids(), SYSTEM.monotonic()

        async def tell() -> None:
            while True:
                await self._tell(worker, self._presence(began_s))
                if await gone.wait(TELL_EVERY_S):
                    return

        async with runtime.group() as group:
            group.start(tell)
            try:
                await super().work(stop)
            finally:
                gone.wake()
                group.cancel()
        await self._tell(worker, None)

    async def run_due(self) -> int:
        """Run all jobs that are due, and those that become due meanwhile: see `Consumer`. No one is told of it."""
        self._prepare()
        return await super().run_due()

    def _prepare(self) -> None:
        # Plain functions get as many threads as there are places; without a loop each place is a thread already.
        self._threads = None if current() is BLOCKING else CapacityLimiter(self.concurrency)

    async def _tell(self, worker: str, found: Presence | None) -> None:
        # No worker depends on it, so that a store that is away is told again later.
        with contextlib.suppress(BackendError):
            await self._jobs.workers.transact("all", NotePresence(worker, found))

    def _presence(self, began_s: float) -> Presence:
        """How it is now, its instants as microseconds ago."""
        now_s = SYSTEM.monotonic()
        runs = sorted(cast("Sequence[JobRun]", list(self._running)), key=lambda run: run.began_s)
        tasks = [Task(run.job_name, run.id, run.attempt, round((now_s - run.began_s) * 1_000_000)) for run in runs]
        host, pid = here()
        return Presence(host, pid, round((now_s - began_s) * 1_000_000), 0, len(runs), self.places, tasks)

    async def is_paused(self) -> bool:
        """Whether `Jobs.pause` was called."""
        return await self._jobs.is_paused()

    async def begin(self) -> None:
        """Put the message of each schedule in the queue, unless it is there."""
        for schedule in self._jobs.schedules.values():
            noted = NoteSchedule(repr(schedule.times))
            now_us, is_changed = await self._jobs.records.transact(schedule.message_id, noted)
            message = dataclasses.replace(schedule.first(now_us), replace=is_changed)
            await self._jobs.publish((message,))

    def deliver(self, claimed: Claimed, until_s: float, /) -> JobRun:
        """One attempt at a job."""
        return JobRun(self._jobs, claimed, self.lease_s, until_s, self._threads, self._service)
