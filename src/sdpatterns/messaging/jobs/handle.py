"""One job that was enqueued: its result, and a way to cancel it."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.keys import join_key
from sdpatterns.errors import DeadlineExceeded, JobCancelled, JobFailed
from sdpatterns.messaging.jobs.payload import CODEC
from sdpatterns.messaging.jobs.record import JobRecord, JobStatus, PutRecord, RequestCancel
from sdpatterns.ports.queue import MessageQueue
from sdpatterns.ports.signals import SignalBus
from sdpatterns.ports.states import Cells

__all__ = ["JobHandle", "ended_topic"]

R = TypeVar("R")

_LOOK_AGAIN_S = 5.0
_CANCEL_KEPT_S = 86_400.0


def ended_topic(name: str, job_id: str) -> str:
    """What is notified when the result of a job can be read. One subscription for all jobs of a process."""
    return f"{join_key('jobs', name)}#{job_id}"


class JobHandle(Generic[R]):
    """A job in the queue, by its id."""

    __slots__ = ("_name", "_queue", "_records", "_signals", "id")

    def __init__(
        self, name: str, job_id: str, queue: MessageQueue, records: Cells[JobRecord], signals: SignalBus
    ) -> None:
        self.id = job_id
        self._name = name
        self._queue = queue
        self._records = records
        self._signals = signals

    async def record(self) -> JobRecord:
        """What is known of it now."""
        found = await self._records.read(self.id)
        return JobRecord(JobStatus.UNKNOWN, 0) if found is None else found

    async def status(self) -> JobStatus:
        """How it is, as far as known: a job without `keep_result_s` stays `UNKNOWN`."""
        return (await self.record()).status

    async def result(self, timeout_s: float) -> R:
        """What it returned, waiting for it.

        **May fail** with `JobFailed`, `JobCancelled`, or `DeadlineExceeded` where it has not ended in
        `timeout_s`, or by the caller's deadline; the job goes on then. Only for jobs with `keep_result_s`.
        **Costs** two reads and a subscription, shared by all that wait in this process.
        """
        left_s = deadline_left_s()
        until_s = SYSTEM.monotonic() + (timeout_s if left_s is None else min(timeout_s, left_s))
        async with self._signals.subscribe(ended_topic(self._name, self.id)) as subscription:
            while True:
                record = await self.record()
                match record.status:
                    case JobStatus.DONE:
                        return cast("R", CODEC.decode(record.value))
                    case JobStatus.FAILED:
                        raise JobFailed(self._name, self.id, record.note)
                    case JobStatus.CANCELLED:
                        raise JobCancelled(self._name, self.id)
                left_s = until_s - SYSTEM.monotonic()
                if left_s <= 0:
                    raise DeadlineExceeded(f"{self._name} {self.id}", timeout_s)
                # A wake-up may be lost, so that it looks again after a while.
                await subscription.wait(min(left_s, _LOOK_AGAIN_S))

    async def cancel(self) -> bool:
        """Take the job out of the queue, or ask its worker to stop it; False where it has ended already.

        A running job is stopped at its next heartbeat, within a third of the worker's lease. A plain function in a
        thread cannot be stopped: it runs to its end, and its result is dropped.
        """
        [was_waiting] = await self._queue.withdraw((self.id,))
        if was_waiting:
            ended = JobRecord(JobStatus.CANCELLED, 0)
            await self._records.transact(self.id, PutRecord(ended, _CANCEL_KEPT_S, (ended_topic(self._name, self.id),)))
            return True
        before = await self._records.transact(self.id, RequestCancel(_CANCEL_KEPT_S))
        return before in {JobStatus.UNKNOWN, JobStatus.RUNNING, JobStatus.CANCELLING}

    def __repr__(self) -> str:
        return f"<JobHandle {self.id!r} of {self._name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and (self._name, self.id) == (other._name, other.id)

    def __hash__(self) -> int:
        return hash((self._name, self.id))
