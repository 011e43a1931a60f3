"""What is known of a job beside its message: its progress, its result, or that it is to be cancelled.

One cell for each job that has any of it. A job whose result is not kept, and which is not cancelled, has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from sdpatterns.core.codec import JsonCodec
from sdpatterns.core.step import Repeats, Step, unchanged

__all__ = ["RECORDS", "JobRecord", "JobStatus", "NoteSchedule", "PutRecord", "RequestCancel"]


class JobStatus(StrEnum):
    """What is known of a job. `UNKNOWN`: nothing was kept of it, or it waits."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobRecord(NamedTuple):
    """The state of the cell. `value` is the result as bytes, `note` the reason of a failure or the progress."""

    status: JobStatus
    fence: int
    value: bytes = b""
    note: str = ""
    done: float = 0.0
    """How much of the work is done, from 0 to 1."""


def _dump(record: JobRecord) -> list[Any]:
    return [record.status.value, record.fence, record.value, record.note, record.done]


def _load(found: list[Any]) -> JobRecord:
    status, fence, value, note, done = found
    return JobRecord(JobStatus(status), fence, value, note, done)


RECORDS: JsonCodec[JobRecord] = JsonCodec(_dump, _load)
"""How a record is written."""

_SCHEDULE_KEPT_S = 366 * 86_400.0
_ENDED = frozenset({JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED})


class PutRecord:
    """Write what a worker knows. Answers the status before it; an older fence changes nothing."""

    __slots__ = ("keep_s", "record", "wake")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, record: JobRecord, keep_s: float, wake: Sequence[str] = ()) -> None:
        self.record = record
        self.keep_s = keep_s
        self.wake = wake

    def __call__(self, states: Sequence[JobRecord | None], now_us: int, /) -> Step[JobRecord, JobStatus]:
        """A job that is to be cancelled stays so until it has ended."""
        [state] = states
        before = JobStatus.UNKNOWN if state is None else state.status
        if state is not None and state.fence > self.record.fence:
            return unchanged(before)
        if before is JobStatus.CANCELLING and self.record.status not in _ENDED:
            return unchanged(before)
        return (self.record,), before, (self.keep_s,), self.wake


class RequestCancel:
    """Ask the worker that runs the job to stop. Answers the status before."""

    __slots__ = ("keep_s",)
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, keep_s: float) -> None:
        self.keep_s = keep_s

    def __call__(self, states: Sequence[JobRecord | None], now_us: int, /) -> Step[JobRecord, JobStatus]:
        """A job that has ended keeps how it ended."""
        [state] = states
        if state is not None and state.status in _ENDED:
            return unchanged(state.status)
        before = JobStatus.UNKNOWN if state is None else state.status
        fence = 0 if state is None else state.fence
        return (JobRecord(JobStatus.CANCELLING, fence),), before, (self.keep_s,), ()


class NoteSchedule:
    """Note the times of a schedule. Answers the store's time, and whether they differ from what was noted."""

    __slots__ = ("times",)
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, times: str) -> None:
        self.times = times

    def __call__(self, states: Sequence[JobRecord | None], now_us: int, /) -> Step[JobRecord, tuple[int, bool]]:
        """The first note is no change."""
        [state] = states
        is_changed = state is not None and state.note != self.times
        return (JobRecord(JobStatus.UNKNOWN, 0, note=self.times),), (now_us, is_changed), (_SCHEDULE_KEPT_S,), ()
