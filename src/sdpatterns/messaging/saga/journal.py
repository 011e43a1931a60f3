"""The journal of one run: what is written, and what it says together. Pure: no store, no clock.

```
started | step began | step done | step began | step retried | step done | ended
                                                  ^
                             the next owner begins here: steps that are done are not run again
```

A run is one stream of an `EventLog`. Its owner appends behind the version that it has read, so that an owner whose
lease was lost cannot append any more. Others append signals and requests to cancel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeAlias

from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.errors import CodecError
from sdpatterns.ports.log import RecordedEvent

__all__ = [
    "CancelRequested",
    "Entry",
    "EntryNotWritten",
    "Journal",
    "RunBroken",
    "RunEnded",
    "RunFailed",
    "RunParked",
    "RunResumed",
    "RunStarted",
    "RunStatus",
    "SignalReceived",
    "StepBegan",
    "StepDone",
    "StepFailed",
    "StepKind",
    "StepRecord",
    "StepRetried",
    "StepUndone",
    "UndoRetried",
    "decoded",
    "encoded",
    "fields_of",
]

_VALUES = ValueCodec()

StepKind: TypeAlias = Literal["step", "pivot", "sleep", "signal"]


class RunStatus(StrEnum):
    """How a run is.

    `CLOSED`: it was never started, and cannot be any more. `DROPPED`: it has ended, and its journal is no longer kept.
    """

    UNKNOWN = "unknown"
    RUNNING = "running"
    UNDOING = "undoing"
    PARKED = "parked"
    COMPLETED = "completed"
    UNDONE = "undone"
    CLOSED = "closed"
    DROPPED = "dropped"


class RunStarted(NamedTuple):
    """The first entry. `parent` is the run that waits for this one, and by which signal; empty without one."""

    saga: str
    version: int
    arguments: dict[str, Any]
    headers: dict[str, str]
    parent: list[str]


class StepBegan(NamedTuple):
    """A step is about to be run, or a wait has begun; `until_us` is when that ends, 0 where it has no end."""

    step: str
    kind: StepKind
    until_us: int = 0


class StepDone(NamedTuple):
    """What it returned."""

    step: str
    value: Any


class StepFailed(NamedTuple):
    """It ended with a declared exception, as `ErrorCodec` writes it: the answer of the step."""

    step: str
    error: bytes


class StepRetried(NamedTuple):
    """An attempt failed, and it is unknown whether the step has had its effect; the next one is at `due_us`."""

    step: str
    attempt: int
    reason: str
    due_us: int


class RunFailed(NamedTuple):
    """The function raised: what is done is undone from here on. `error` is empty for an exception not declared."""

    reason: str
    error: bytes


class StepUndone(NamedTuple):
    """The undo of a step has returned."""

    step: str


class UndoRetried(NamedTuple):
    """An attempt to undo a step failed."""

    step: str
    attempt: int
    reason: str
    due_us: int


class RunEnded(NamedTuple):
    """The last entry. `value` is what the function returned."""

    status: str
    value: Any


class RunParked(NamedTuple):
    """It needs a person: see the reason."""

    reason: str


class RunResumed(NamedTuple):
    """A person has let it go on: all attempts count from the beginning."""


class SignalReceived(NamedTuple):
    """What `run.signal` waits for."""

    signal: str
    value: Any


class CancelRequested(NamedTuple):
    """The run is to be undone, unless its pivot has begun."""

    reason: str


StepEntry: TypeAlias = StepBegan | StepDone | StepFailed | StepRetried | StepUndone | UndoRetried
Entry: TypeAlias = (
    StepEntry | RunStarted | RunFailed | RunEnded | RunParked | RunResumed | SignalReceived | CancelRequested
)

_KINDS: dict[str, type[Any]] = {
    "run-started": RunStarted,
    "step-began": StepBegan,
    "step-done": StepDone,
    "step-failed": StepFailed,
    "step-retried": StepRetried,
    "run-failed": RunFailed,
    "step-undone": StepUndone,
    "undo-retried": UndoRetried,
    "run-ended": RunEnded,
    "run-parked": RunParked,
    "run-resumed": RunResumed,
    "signal-received": SignalReceived,
    "cancel-requested": CancelRequested,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}

EXTERNAL = (SignalReceived, CancelRequested, RunResumed)
"""Entries that others append than the owner of the run."""
_OTHERS = {_NAMES[kind] for kind in (RunStarted, RunParked, *EXTERNAL)}


def encoded(entry: Entry) -> tuple[str, bytes]:
    """The type and the data of its event. Raises TypeError for a value that would not come back as it is."""
    return _NAMES[type(entry)], _VALUES.encode(list(entry))


def decoded(event: RecordedEvent) -> Entry:
    """The entry in an event. Raises `CodecError`."""
    kind = _KINDS.get(event.type)
    if kind is None:
        raise CodecError(f"not an entry of a saga's journal: {event.type!r}")
    try:
        return kind(*_VALUES.decode(event.data))  # type: ignore[no-any-return] # one of the entries
    except TypeError as cause:
        raise CodecError(f"{event.type!r} has other fields than this release knows") from cause


def owner_of(fence: int, attempt: int) -> str:
    """What the ids of a worker's entries begin with: the fence is its alone."""
    return f"{fence}.{attempt}"


def attempt_in(event: RecordedEvent, *, before: int) -> int:
    """Which attempt wrote it, `before` where that is another's entry, or one of an earlier release."""
    parts = event.id.split(".")
    is_owners = len(parts) == 3 and all(part.isdecimal() for part in parts)
    return int(parts[1]) if is_owners and event.type not in _OTHERS else before


def fields_of(kind: str) -> tuple[str, ...]:
    """The names of the values in an event of that type. Raises `CodecError`."""
    if kind not in _KINDS:
        raise CodecError(f"not an entry of a saga's journal: {kind!r}")
    fields: tuple[str, ...] = _KINDS[kind]._fields
    return fields


@dataclasses.dataclass(slots=True)
class StepRecord:
    """What the journal says of one step."""

    kind: StepKind
    until_us: int = 0
    value: Any = None
    error: bytes | None = None
    is_done: bool = False
    is_undone: bool = False
    attempts: int = 0
    undo_attempts: int = 0
    due_us: int = 0


class EntryNotWritten(BaseException):
    """An entry could not be appended: the run is another owner's now, or the store was away too long.

    No exception that a saga could take for a failure of its step. `error` is what the log, or the lease, raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class RunBroken(BaseException):
    """The run cannot go on without a person; the reason is the text. Not for a saga to catch."""


class Journal:
    """What the entries say together."""

    def __init__(self) -> None:
        self.version = 0
        self.started: RunStarted | None = None
        self.steps: dict[str, StepRecord] = {}
        self.done: list[str] = []
        """The steps that are done, in that order: they are undone in the reverse one."""
        self.signals: dict[str, Any] = {}
        self.cancelled: str | None = None
        self.failed: RunFailed | None = None
        self.ended: RunEnded | None = None
        self.ended_us: int | None = None
        """When it ended, by the store's clock; None where it was this object's owner that ended it."""
        self.parked: str | None = None
        self.attempt = 0
        """Which attempt of its driver message moved it on; 0 where that is not known."""

    @property
    def status(self) -> RunStatus:
        """How the run is."""
        if self.ended is not None:
            return RunStatus(self.ended.status)
        if self.started is None:
            return RunStatus.UNKNOWN
        if self.parked is not None:
            return RunStatus.PARKED
        return RunStatus.RUNNING if self.failed is None else RunStatus.UNDOING

    @property
    def is_pivoted(self) -> bool:
        """Whether it has begun the step from which on nothing is undone, and that step has not failed.

        A pivot that stands behind an accepted cancellation is not run, so it does not count.
        """
        pivots = [it for it in self.steps.values() if it.kind == "pivot" and it.error is None]
        return any(it.is_done or self.cancelled is None for it in pivots)

    def read(self, events: Iterable[RecordedEvent]) -> None:
        """Take events in the order of their versions."""
        for event in events:
            try:
                self.apply(decoded(event))
            except KeyError as cause:
                raise CodecError(f"entry {event.version} is about a step that has not begun: {cause}") from cause
            self.version = event.version
            self.attempt = attempt_in(event, before=self.attempt)
            if self.ended is not None and self.ended_us is None:
                self.ended_us = event.recorded_us

    def apply(self, entry: Entry) -> None:
        """Take one entry."""
        if not isinstance(entry, EXTERNAL):
            # Its owner goes on.
            self.parked = None
        match entry:
            case RunStarted():
                self.started = entry
            case RunFailed():
                self.failed = entry
            case RunEnded():
                self.ended = entry
            case RunParked(reason):
                self.parked = reason
            case RunResumed():
                self._resume()
            case SignalReceived(signal, value):
                # The first one counts: a sender that lost the reply sends it again.
                self.signals.setdefault(signal, value)
            case CancelRequested(reason):
                self.cancelled = self.cancelled or reason
            case _:
                self._apply_to_step(entry)

    def _apply_to_step(self, entry: StepEntry) -> None:
        if isinstance(entry, StepBegan):
            self.steps[entry.step] = StepRecord(entry.kind, entry.until_us)
            return
        record = self.steps[entry.step]
        match entry:
            case StepDone(step, value):
                record.value, record.is_done = value, True
                self.done.append(step)
            case StepFailed():
                record.error = entry.error
            case StepRetried():
                record.attempts, record.due_us = entry.attempt, entry.due_us
            case UndoRetried():
                record.undo_attempts, record.due_us = entry.attempt, entry.due_us
            case StepUndone():
                record.is_undone = True

    def _resume(self) -> None:
        self.parked, self.attempt = None, 0
        for record in self.steps.values():
            record.attempts = record.undo_attempts = record.due_us = 0
