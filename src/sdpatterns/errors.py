"""Every exception of sdpatterns, on one page.

```
Exception
└── SdpatternsError
    ├── Rejected                 refused before the work began; carries retry_after_s
    │   ├── RateLimited          the limit of a key is used up
    │   ├── CircuitIsOpen        the breaker holds calls back
    │   ├── BulkheadFull         no slot and no place in the queue
    │   ├── ClaimHeld            another caller is doing this work right now
    │   └── LeaseNotGranted      others hold the lease, and the wait for it was too long
    ├── DeadlineExceeded         the time ran out (also a TimeoutError)
    │   └── ReplyNotReceived     no reply to a request in time: it was carried out or not
    ├── KeyReused                one idempotency key, two different requests
    ├── AnswerNotKept            the work of an idempotency key was done; its answer cannot be given again
    ├── ClaimLost                a newer claim owns the key: this result was not stored
    ├── LeaseLost                the lease ended, or went to another holder, while its holder worked
    ├── StaleFence               a write with an older fence than the resource has seen
    ├── VersionConflict          a write on a version that is not the newest one
    ├── EventsTrimmed            a reader asks for events that a log no longer keeps
    ├── JobFailed                a job ended without a result: it was parked
    ├── JobCancelled             a job was cancelled before it ended
    ├── SagaCancelled            a run was cancelled: raised in the saga, which is then undone
    ├── SagaUndone               a run failed, and what it had done was undone
    ├── SagaNotStarted           a run was begun too late, and never will run
    ├── SagaDropped              a run has ended so long ago that its journal is no longer kept
    ├── ReplayFailed             recorded journals do not fit the code any more
    ├── RequestFailed            the handler of a request raised
    ├── BackendError             the store, not the caller, is at fault
    │   ├── BackendUnavailable   away: nothing happened
    │   ├── OutcomeUnknown       the step may or may not have happened: its reply was lost
    │   └── BackendFull          a bound of the store is reached: nothing happened
    └── CodecError               bytes that cannot be trusted or read
        ├── UnknownVersion       written by a newer release: refused, never overwritten
        └── CursorNotValid       a page's cursor that was not made for this list
```

A guard or a policy lets the caller's own exception through bare; an ExceptionGroup of our making
never leaves one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping


class SdpatternsError(Exception):
    """Base of every exception this package raises on its own account."""


class Rejected(SdpatternsError):
    """The call was refused before its work began: nothing of it happened.

    `name` is the guard that refused, `key` the key it refused for (empty where it has none), and
    `retry_after_s` the seconds after which asking again makes sense (`None` where that is unknown).
    """

    def __init__(self, name: str, key: str = "", *, retry_after_s: float | None = None) -> None:
        self.name = name
        self.key = key
        self.retry_after_s = retry_after_s
        super().__init__(name, key, retry_after_s)

    def __reduce__(self) -> tuple[object, ...]:
        # By default a copy is made with positional arguments alone, and the wait is not one.
        return functools.partial(type(self), retry_after_s=self.retry_after_s), (self.name, self.key), self.__dict__

    def __str__(self) -> str:
        who = f"{self.name!r} for key {self.key!r}" if self.key else repr(self.name)
        when = "" if self.retry_after_s is None else f"; try again in {self.retry_after_s:.3f} s"
        return f"{self.sentence}: {who}{when}"

    sentence = "refused"


class RateLimited(Rejected):
    """The rate limit of the key is used up."""

    sentence = "rate limit reached"


class CircuitIsOpen(Rejected):
    """The circuit breaker holds calls back until its open time has passed."""

    sentence = "circuit is open"


class BulkheadFull(Rejected):
    """Every slot is taken and the queue is full, or the wait for a slot was too long."""

    sentence = "bulkhead is full"


class ClaimHeld(Rejected):
    """Another caller holds the claim on this idempotency key and has not finished."""

    sentence = "the same work is in flight"


class LeaseNotGranted(Rejected):
    """Others hold the lease (or all permits of a semaphore), and it was not free in time."""

    sentence = "the lease is held"


class DeadlineExceeded(SdpatternsError, TimeoutError):
    """The call did not end in time; `timeout_s` is the time that it had."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self.name = name
        self.timeout_s = timeout_s
        # A TimeoutError is an OSError, which takes two arguments for its `errno` and `strerror`.
        super().__init__(name)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.timeout_s), self.__dict__

    def __str__(self) -> str:
        return f"{self.name!r} did not finish within {self.timeout_s:.3f} s"


class ReplyNotReceived(DeadlineExceeded):
    """No reply to a request came in time. It may have been carried out, may be under way, or never was begun."""

    def __str__(self) -> str:
        return f"{self.name!r}: no reply within {self.timeout_s:.3f} s; the request may have been carried out or not"


class KeyReused(SdpatternsError):
    """The idempotency key was used before with another request: the answer is not replayed."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        super().__init__(name, key)

    def __str__(self) -> str:
        return f"{self.name!r}: key {self.key!r} was used before with a different request"


class AnswerNotKept(SdpatternsError):
    """The work of this idempotency key was carried out, and its answer could not be stored.

    The work does not run again while the key is kept. The caller that ran it finds the result in
    `answer`, and the reason in `__cause__`; for later callers `answer` is None.
    """

    def __init__(self, name: str, key: str, answer: object = None) -> None:
        self.name = name
        self.key = key
        self.answer = answer
        super().__init__(name, key)

    def __reduce__(self) -> tuple[object, ...]:
        # The answer stays behind: that it cannot be written is what this error says.
        return type(self), (self.name, self.key)

    def __str__(self) -> str:
        return (
            f"{self.name!r}: the work of key {self.key!r} was carried out, and its answer was not kept;"
            " return a smaller value of plain types, or give the policy a codec"
        )


class ClaimLost(SdpatternsError):
    """The lease on the claim ran out and a newer one owns the key; this result was not stored."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        super().__init__(name, key)

    def __str__(self) -> str:
        return f"{self.name!r}: the claim on {self.key!r} was lost before the work was finished"


class LeaseLost(SdpatternsError):
    """The lease ended, or another caller holds it, while its holder still worked.

    Refuse what the work did after that: see `fence` of the lease, and the guarded resources.
    """

    def __init__(self, name: str, key: str, why: str = "") -> None:
        self.name = name
        self.key = key
        self.why = why
        super().__init__(name, key, why)

    def __str__(self) -> str:
        what = f"{self.name!r} for key {self.key!r}" if self.key else repr(self.name)
        return f"the lease {what} was lost while its holder worked" + (f": {self.why}" if self.why else "")


class StaleFence(SdpatternsError):
    """A guarded resource has seen a newer fence than the one presented."""

    def __init__(self, resource: str, *, presented: int, seen: int) -> None:
        self.resource = resource
        self.presented = presented
        self.seen = seen
        super().__init__(resource, presented, seen)

    def __reduce__(self) -> tuple[object, ...]:
        make = functools.partial(type(self), presented=self.presented, seen=self.seen)
        return make, (self.resource,), self.__dict__

    def __str__(self) -> str:
        return f"{self.resource!r} has seen fence {self.seen}; {self.presented} is stale"


class VersionConflict(SdpatternsError):
    """The value was written by another caller since it was read: nothing was changed. Read it again."""

    def __init__(self, name: str, key: str, expected: int, found: int) -> None:
        self.name = name
        self.key = key
        self.expected = expected
        self.found = found
        super().__init__(name, key, expected, found)

    def __str__(self) -> str:
        return f"{self.name!r}: key {self.key!r} has version {self.found}, not {self.expected}"


class EventsTrimmed(SdpatternsError):
    """The log no longer keeps the events behind `after`: a reader that went on would skip them.

    `trimmed` is the position of the log (or the version of `stream`, where one was read) up to which events were
    dropped. To begin there on purpose, read behind it.
    """

    def __init__(self, name: str, stream: str, after: int, trimmed: int) -> None:
        self.name = name
        self.stream = stream
        self.after = after
        self.trimmed = trimmed
        super().__init__(name, stream, after, trimmed)

    def __str__(self) -> str:
        what = f"stream {self.stream!r} keeps no version" if self.stream else "the log keeps no position"
        return f"{self.name!r}: {what} up to {self.trimmed}, and was read behind {self.after}"


class JobFailed(SdpatternsError):
    """The job was parked after its last attempt; `reason` says why."""

    def __init__(self, name: str, job_id: str, reason: str) -> None:
        self.name = name
        self.job_id = job_id
        self.reason = reason
        super().__init__(name, job_id, reason)

    def __str__(self) -> str:
        return f"job {self.job_id!r} of {self.name!r} failed: {self.reason}"


class SagaCancelled(SdpatternsError):
    """The run `run_id` was asked to stop; `reason` is what was said of it. What is done will be undone."""

    def __init__(self, name: str, run_id: str, reason: str) -> None:
        self.name = name
        self.run_id = run_id
        self.reason = reason
        super().__init__(name, run_id, reason)

    def __str__(self) -> str:
        return f"run {self.run_id!r} of {self.name!r} was cancelled: {self.reason}"


class SagaUndone(SdpatternsError):
    """The run failed, and each step that it had done was undone. Its cause is the exception, if it was declared."""

    def __init__(self, name: str, run_id: str, reason: str) -> None:
        self.name = name
        self.run_id = run_id
        self.reason = reason
        super().__init__(name, run_id, reason)

    def __str__(self) -> str:
        return f"run {self.run_id!r} of {self.name!r} was undone: {self.reason}"


class SagaNotStarted(SdpatternsError):
    """The run `run_id` was begun too late: a worker had closed its journal. Nothing was run; use another id."""

    def __init__(self, name: str, run_id: str) -> None:
        self.name = name
        self.run_id = run_id
        super().__init__(name, run_id)

    def __str__(self) -> str:
        return f"run {self.run_id!r} of {self.name!r} was not started: it came too late, and was closed"


class SagaDropped(SdpatternsError):
    """The run `run_id` has ended, and its journal with the result is no longer kept: see `keep_s` of `Sagas`."""

    def __init__(self, name: str, run_id: str) -> None:
        self.name = name
        self.run_id = run_id
        super().__init__(name, run_id)

    def __str__(self) -> str:
        return f"run {self.run_id!r} of {self.name!r} has ended, and its journal is no longer kept"


class ReplayFailed(SdpatternsError):
    """Some of `count` recorded journals do not fit the code any more; `differences` says for each file why."""

    def __init__(self, name: str, count: int, differences: Mapping[str, str]) -> None:
        self.name = name
        self.count = count
        self.differences = dict(differences)
        super().__init__(name, count, self.differences)

    def __str__(self) -> str:
        lines = [f"  {path}: {text}" for path, text in self.differences.items()]
        head = f"{len(lines)} of {self.count} journals of {self.name!r} do not fit the code:"
        return "\n".join([head, *lines])


class RequestFailed(SdpatternsError):
    """The handler of a request raised; `reason` says what."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(name, reason)

    def __str__(self) -> str:
        return f"a request to {self.name!r} failed: {self.reason}"


class JobCancelled(SdpatternsError):
    """The job was cancelled before its work was done."""

    def __init__(self, name: str, job_id: str) -> None:
        self.name = name
        self.job_id = job_id
        super().__init__(name, job_id)

    def __str__(self) -> str:
        return f"job {self.job_id!r} of {self.name!r} was cancelled"


class BackendError(SdpatternsError):
    """The backend, not the caller, is at fault."""


class BackendUnavailable(BackendError):
    """The backend is away; the step did not happen. The message names the URL and the fix."""


class OutcomeUnknown(BackendError):
    """The step was sent and its reply was lost: it may have happened, or not."""


class BackendFull(BackendError):
    """A bound of the backend is reached and sharing a cell would be wrong here."""


class CodecError(SdpatternsError):
    """Bytes that cannot be read as what they claim to be."""


class UnknownVersion(CodecError):
    """The bytes were written by a newer release; they are refused and left as they are."""


class CursorNotValid(CodecError):
    """What a client gave as the cursor of a page is none of this list."""
