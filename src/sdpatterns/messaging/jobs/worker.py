"""Run jobs from the queue."""

from __future__ import annotations

import dataclasses

from anyio import CapacityLimiter

from sdpatterns.core.runtime import BLOCKING, Waiter, current
from sdpatterns.messaging.consumer import Consumer
from sdpatterns.messaging.jobs.jobs import Jobs
from sdpatterns.messaging.jobs.record import NoteSchedule
from sdpatterns.messaging.jobs.run import JobRun
from sdpatterns.ports.queue import Claimed

__all__ = ["Worker"]


class Worker(Consumer):
    """Runs the jobs of one `Jobs`, up to `concurrency` at once: `async with worker:` or `await worker.run()`.

    A job runs again at most `lease_s` after its worker died. What it keeps and costs is said in `Consumer`.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        concurrency: int = 50,
        lease_s: float = 8.0,
        poll_s: float = 5.0,
        drain_s: float = 30.0,
    ) -> None:
        super().__init__(
            jobs.name,
            jobs.queue,
            jobs.signals,
            concurrency=concurrency,
            lease_s=lease_s,
            poll_s=poll_s,
            drain_s=drain_s,
        )
        self._jobs = jobs
        self._threads: CapacityLimiter | None = None

    async def work(self, stop: Waiter, /) -> None:
        # Plain functions get as many threads as there are places; without a loop each place is a thread already.
        self._threads = None if current() is BLOCKING else CapacityLimiter(self.concurrency)
        await super().work(stop)

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
        return JobRun(self._jobs, claimed, self.lease_s, until_s, self._threads)
