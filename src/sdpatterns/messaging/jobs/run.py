"""One attempt at one job, from its message to its settlement."""

from __future__ import annotations

import random as random_numbers
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from typing import Any

from anyio import CapacityLimiter, to_thread

from sdpatterns.core.carried import CORRELATION, trace_in
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import correlation_id, with_deadline
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.runtime import BLOCKING, current
from sdpatterns.core.tracing import TRACERS, Opened
from sdpatterns.errors import CodecError, UnknownVersion
from sdpatterns.messaging.consumer import Delivery, GiveUp, after_failure
from sdpatterns.messaging.jobs.chains import MemberDone, following, in_group
from sdpatterns.messaging.jobs.handle import ended_topic
from sdpatterns.messaging.jobs.jobs import Job, Jobs
from sdpatterns.messaging.jobs.notices import JobAbandoned, JobCompleted, JobLost, JobRequeued
from sdpatterns.messaging.jobs.payload import CODEC, JobCall, decoded
from sdpatterns.messaging.jobs.record import JobRecord, JobStatus, PutRecord
from sdpatterns.messaging.jobs.schedule import Scheduled
from sdpatterns.ports.queue import Claimed, Complete, Park, Requeue, Settlement

__all__ = ["JobRun", "current_job"]

_FAILURE_KEPT_S = 86_400.0
_UNKNOWN_SCHEDULE_S = 60.0
_PROGRESS_EVERY_S = 0.5

_CURRENT: ContextVar[JobRun | None] = ContextVar("sdpatterns_job", default=None)


def current_job() -> JobRun:
    """The attempt in which the calling handler runs. Raises `LookupError` outside a handler."""
    run = _CURRENT.get()
    if run is None:
        raise LookupError("this code does not run in a job")
    return run


class JobRun(Delivery):
    """One attempt. Its handler finds it by `current_job()`: `id`, `attempt` and `fence`, and `progress`."""

    def __init__(
        self,
        jobs: Jobs,
        claimed: Claimed,
        lease_s: float,
        until_s: float,
        threads: CapacityLimiter | None,
        service: str | None = None,
    ) -> None:
        super().__init__(jobs.queue, claimed, lease_s, until_s)
        self.id = claimed.id
        self.scheduled = Scheduled.of(claimed.headers)
        """The time for which it runs, where it is the job of a schedule."""
        self.attempt = claimed.attempt - (0 if self.scheduled is None else self.scheduled.attempts)
        self.fence = claimed.fence
        """Grows with each attempt at any job of this id: give it to resources that refuse an older one."""
        self._jobs = jobs
        self._threads = threads
        self._service = service
        self._job: Job[Any, Any] | None = None
        self.began_s = self._claimed_s = SYSTEM.monotonic()
        """The monotonic second at which its handler began, or at which it was claimed."""
        self._told_s = 0.0

    async def progress(self, done: float, note: str = "") -> None:
        """Say how much is done, from 0 to 1, for `handle.record()`. Written twice a second at most."""
        now_s = SYSTEM.monotonic()
        if now_s - self._told_s >= _PROGRESS_EVERY_S or done >= 1:
            self._told_s = now_s
            await self._put(JobRecord(JobStatus.RUNNING, self.fence, b"", note, min(1.0, max(0.0, done))))

    @property
    def job_name(self) -> str:
        """Which kind of job it is; a question mark until that is known."""
        return "?" if self._job is None else self._job.name

    def handle(self) -> Coroutine[Any, Any, Settlement]:
        """Run the handler; what is to become of the message."""
        return self._outcome() if self.scheduled is None else self._rescheduled(self.scheduled)

    async def _rescheduled(self, scheduled: Scheduled) -> Settlement:
        schedule = self._jobs.schedules.get(scheduled.name)
        if schedule is None:
            # A worker of an earlier release: one of the release that has the schedule runs it.
            return Requeue(self.claimed, _UNKNOWN_SCHEDULE_S, counts=False)
        settlement = await self._outcome()
        if isinstance(settlement, Requeue):
            return settlement
        now_us = self.claimed_us + round((SYSTEM.monotonic() - self._claimed_s) * 1_000_000)
        coming = schedule.after(scheduled, now_us, self.claimed.attempt - 1)
        after_s = max(0.0, (coming.at_us - now_us) / 1_000_000)
        headers = {**schedule.message.headers, **coming.headers()}
        return Requeue(self.claimed, after_s, counts=False, payload=schedule.message.payload, headers=headers)

    async def _outcome(self) -> Settlement:
        try:
            call = decoded(self.claimed.payload)
            self._job = job = self._found(call)
            args, kwargs = job.parameters.fitting(_upgraded(job, call))
        except Exception as error:  # noqa: BLE001 - whatever an upgrade of the user's raises
            return await self._gave_up(f"{type(error).__name__}: {error}")
        if self.attempt > 1 and await self.is_to_stop():
            return await self.stopped()
        left_s = self.deadline_left_s()
        if left_s is not None and left_s <= 0:
            return await self._gave_up("its deadline passed while it waited")
        self.began_s = SYSTEM.monotonic()
        try:
            result = await self._handled(job, args, kwargs, left_s)
            kept = None if job.config.keep_result_s is None else CODEC.encode(result)
        except Exception as error:  # noqa: BLE001 - judged by the decision
            return await self._failed(job, error)
        if kept is not None:
            await self._ended(JobRecord(JobStatus.DONE, self.fence, kept), job.config.keep_result_s)
        if self.claimed.headers:
            await self._follow(dict(self.claimed.headers))
        if LISTENERS:
            self._tell_completed(job)
        return Complete(self.claimed)

    async def _follow(self, headers: dict[str, str]) -> None:
        """Put what follows this job in the queue."""
        group_id = in_group(headers)

        async def follow() -> None:
            last = None if group_id is None else await self._jobs.groups.transact(group_id, MemberDone(self.id))
            messages = [it for it in (following(headers), last) if it is not None]
            if messages:
                await self._jobs.publish(messages)

        await self.insist(follow)

    def _found(self, call: JobCall) -> Job[Any, Any]:
        job = self._jobs.known.get(call.job)
        if job is None:
            raise CodecError(f"no job is called {call.job!r} here")
        if call.version > job.config.version:
            raise UnknownVersion(f"version {call.version} of {job.name!r}; this release knows {job.config.version}")
        return job

    def _handled(
        self, job: Job[Any, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], left_s: float | None
    ) -> Awaitable[Any]:
        _CURRENT.set(self)
        correlation_id.set(self.claimed.headers.get(CORRELATION))
        call = self._called(job, args, kwargs)
        return call if left_s is None and not TRACERS else self._bounded(job, call, left_s)

    async def _bounded(self, job: Job[Any, Any], call: Awaitable[Any], left_s: float | None) -> Any:
        with with_deadline(86_400.0 * 366 if left_s is None else left_s):
            if not TRACERS:
                return await call
            with Opened(f"job {job.name}", "consumer", self._facts(), parent=trace_in(self.claimed.headers)):
                return await call

    def _facts(self) -> dict[str, str | bool | int | float]:
        facts: dict[str, str | bool | int | float] = {
            "messaging.destination.name": self._jobs.name,
            "messaging.message.id": self.id,
            "sdpatterns.attempt": self.attempt,
        }
        return facts if self._service is None else facts | {"service.name": self._service}

    def _called(self, job: Job[Any, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        return job.function(*args, **kwargs) if job.is_async else self._in_thread(lambda: job.function(*args, **kwargs))

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        # Without a loop it is in a thread of its own already.
        return call() if current() is BLOCKING else await to_thread.run_sync(call, limiter=self._threads)

    async def _failed(self, job: Job[Any, Any], error: Exception) -> Settlement:
        after = after_failure(job.config, self.attempt, error, random_numbers.random())
        if isinstance(after, GiveUp):
            return await self._gave_up(after.reason)
        if LISTENERS:
            told = type(error).__qualname__
            tell(JobRequeued(
                name=self._jobs.name, job=job.name, id=self.id, attempt=self.attempt,
                delay_s=after.delay_s, error=told, counts=after.counts,
            ))  # fmt: skip
        return Requeue(self.claimed, after.delay_s, after.counts)

    async def _gave_up(self, reason: str) -> Settlement:
        job = self._job
        if job is not None and job.config.keep_result_s is not None:
            await self._ended(JobRecord(JobStatus.FAILED, self.fence, b"", reason), job.config.keep_result_s)
        if LISTENERS:
            tell(JobAbandoned(name=self._jobs.name, job=self.job_name, id=self.id, attempt=self.attempt, reason=reason))
        return Park(self.claimed, reason)

    async def stopped(self) -> Settlement:
        """It was cancelled through its handle."""
        await self._ended(JobRecord(JobStatus.CANCELLED, self.fence), _FAILURE_KEPT_S)
        return Complete(self.claimed)

    async def is_to_stop(self) -> bool:
        """Whether it was cancelled through its handle."""
        record = await self._jobs.records.read(self.id)
        return record is not None and record.status is JobStatus.CANCELLING

    async def _ended(self, record: JobRecord, keep_s: float | None) -> None:
        # Before the message is settled, because a worker that dies in between is followed by one that writes it again.
        await self.insist(lambda: self._put(record, keep_s or _FAILURE_KEPT_S))

    async def _put(self, record: JobRecord, keep_s: float = _FAILURE_KEPT_S) -> None:
        await self._jobs.records.transact(self.id, PutRecord(record, keep_s, (ended_topic(self._jobs.name, self.id),)))

    def lost(self) -> None:
        """Say so: another worker may run it."""
        if LISTENERS:
            tell(JobLost(name=self._jobs.name, job=self.job_name, id=self.id, attempt=self.attempt))

    def _tell_completed(self, job: Job[Any, Any]) -> None:
        tell(JobCompleted(
            name=self._jobs.name, job=job.name, id=self.id, attempt=self.attempt,
            duration_s=SYSTEM.monotonic() - self.began_s,
            waited_s=max(0.0, (self.claimed_us - self.claimed.published_us) / 1_000_000),
        ))  # fmt: skip


def _upgraded(job: Job[Any, Any], call: JobCall) -> dict[str, Any]:
    arguments = call.arguments
    for version in range(call.version, job.config.version):
        upgrade = job.config.upgrades.get(version)
        if upgrade is None:
            raise UnknownVersion(f"version {call.version} of {job.name!r} has no upgrade from {version}")
        arguments = upgrade(arguments)
    return arguments
