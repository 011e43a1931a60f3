"""The life of one idempotency key, as transitions on one cell.

```
        claim                    settle
free ----------> claimed --------------------> done (answer, a stored error, or spent: no answer)
  ^               |  |  renew: lease moves on    |
  |    release    |  |                           |
  +---------------+  | lease over: the next      | kept for keep_s,
  ^                  | claim takes it            | then free again
  +------------------+---------------------------+
```

Every transition names its owner, a random token made for one claim, so that running it twice
changes nothing more than running it once.

Source: draft-ietf-httpapi-idempotency-key-header; Helland, "Idempotence is not a medical
condition" (2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, NamedTuple

from sdpatterns.coordination.idempotency.script import ClaimScript
from sdpatterns.core.codec import split_version
from sdpatterns.core.fence import next_fence
from sdpatterns.core.step import GONE, Repeats, Step, unchanged
from sdpatterns.errors import CodecError, UnknownVersion

__all__ = ["ClaimResult", "ClaimStatus", "Record", "RecordCodec", "Release", "Renew", "Settle", "TakeClaim"]

_MICRO = 1_000_000
_FENCE_KEPT_S = 1.0
_VERSION = 1


class ClaimStatus(StrEnum):
    """What a cell says, and what a claim finds there."""

    FREE = "f"
    CLAIMED = "c"
    DONE = "d"
    FAILED = "e"
    SPENT = "s"
    BUSY = "b"
    REUSED = "r"


class Record(NamedTuple):
    """The state of one key. `until_us` is the end of the lease, or of the time an answer is kept."""

    status: ClaimStatus
    fence: int
    until_us: int
    owner: str
    fingerprint: str
    answer: bytes = b""


class ClaimResult(NamedTuple):
    """The answer to a claim: taken (`CLAIMED`), answered before (`DONE`, `FAILED`), carried
    out without an answer that could be kept (`SPENT`), or refused.
    """

    status: ClaimStatus
    fence: int
    left_us: int = 0
    answer: bytes = b""


class RecordCodec:
    """`1:c <fence> <until_us> <owner> <fingerprint> <answer bytes as they are>`.

    Fields are set apart by one space, which none of them but the last can hold, so that a Lua
    script reads a record with one pattern.
    """

    __slots__ = ()
    version: ClassVar[int] = _VERSION

    def encode(self, value: Record, /) -> bytes:
        head = f"{_VERSION}:{value.status.value} {value.fence} {value.until_us} {value.owner} {value.fingerprint} "
        return head.encode() + value.answer

    def decode(self, data: bytes, /) -> Record:
        """The record in `data`. Raises `CodecError`, or `UnknownVersion` for a newer one."""
        version, body = split_version(data)
        if version != _VERSION:
            raise UnknownVersion(f"state version {version}; this release knows {_VERSION}")
        try:
            status, fence, until_us, owner, digest, answer = body.split(b" ", 5)
            return Record(
                ClaimStatus(status.decode()), int(fence), int(until_us), owner.decode(), digest.decode(), answer
            )
        except ValueError as cause:
            raise CodecError(f"not an idempotency record: {data[:40]!r}") from cause


def _found(reply: Sequence[bytes]) -> ClaimResult:
    status, fence, left_us, answer = reply
    return ClaimResult(ClaimStatus(status.decode()), int(fence), int(left_us), answer)


def _is_true(reply: Sequence[bytes]) -> bool:
    return reply[0] == b"1"


def _is_mine(state: Record | None, owner: str, fence: int) -> bool:
    # A fence of 0: the reply with the fence was lost. The name of an owner is random, so the name is enough.
    return state is not None and state.owner == owner and fence in {state.fence, 0}


class TakeClaim:
    """Take the key, or say why not. Answers a `ClaimResult`."""

    __slots__ = ("fingerprint", "lease_us", "owner")
    repeats: ClassVar[Repeats] = "harmless"

    def __init__(self, owner: str, fingerprint: str, lease_us: int) -> None:
        self.owner = owner
        self.fingerprint = fingerprint
        self.lease_us = lease_us

    @property
    def script(self) -> ClaimScript[ClaimResult]:
        return ClaimScript(["take", self.owner, self.fingerprint, str(self.lease_us)], _found)

    def __call__(self, states: Sequence[Record | None], now_us: int, /) -> Step[Record, ClaimResult]:
        """Take a key that is free, or that has a lease or an answer whose time is over."""
        [state] = states
        if state is None or state.status is ClaimStatus.FREE or state.until_us <= now_us:
            fence = next_fence(0 if state is None else state.fence, now_us)
            taken = Record(ClaimStatus.CLAIMED, fence, now_us + self.lease_us, self.owner, self.fingerprint)
            # Kept for a second lease, so that an owner who is late but alone may still settle.
            return (taken,), ClaimResult(ClaimStatus.CLAIMED, fence, self.lease_us), (2 * self.lease_us / _MICRO,), ()
        left_us = state.until_us - now_us
        # Before the status: another request must not get the answer of this key, whether that is ready or not.
        if state.fingerprint != self.fingerprint:
            return unchanged(ClaimResult(ClaimStatus.REUSED, state.fence, left_us))
        if state.status is not ClaimStatus.CLAIMED:
            return unchanged(ClaimResult(state.status, state.fence, left_us, state.answer))
        # An owner that asks again after a lost reply finds its own claim.
        status = ClaimStatus.CLAIMED if state.owner == self.owner else ClaimStatus.BUSY
        return unchanged(ClaimResult(status, state.fence, left_us))


class Renew:
    """Move the end of the lease on. Answers whether the claim still stands."""

    __slots__ = ("fence", "lease_us", "owner")
    repeats: ClassVar[Repeats] = "harmless"

    def __init__(self, owner: str, fence: int, lease_us: int) -> None:
        self.owner = owner
        self.fence = fence
        self.lease_us = lease_us

    @property
    def script(self) -> ClaimScript[bool]:
        return ClaimScript(["renew", self.owner, str(self.fence), str(self.lease_us)], _is_true)

    def __call__(self, states: Sequence[Record | None], now_us: int, /) -> Step[Record, bool]:
        """Refused once another caller holds the key, or it is settled."""
        [state] = states
        if state is None or state.status is not ClaimStatus.CLAIMED or not _is_mine(state, self.owner, self.fence):
            return unchanged(answer=False)
        # Never earlier than before, because a renewal that was slow on its way must not shorten the lease.
        until_us = max(state.until_us, now_us + self.lease_us)
        keep_s = (until_us - now_us + self.lease_us) / _MICRO
        return (state._replace(until_us=until_us),), True, (keep_s,), ()


class Settle:
    """Store the answer, if the claim still stands. Answers whether it is stored."""

    __slots__ = ("answer", "fence", "keep_us", "owner", "status", "wake")
    repeats: ClassVar[Repeats] = "harmless"

    def __init__(self, owner: str, fence: int, status: ClaimStatus, answer: bytes, keep_s: float, wake: str) -> None:
        self.owner = owner
        self.fence = fence
        self.status = status
        self.answer = answer
        self.keep_us = int(keep_s * _MICRO)
        self.wake = wake

    @property
    def script(self) -> ClaimScript[bool]:
        settled = (self.status.value, self.answer, str(self.keep_us), self.wake)
        return ClaimScript(["settle", self.owner, str(self.fence), *settled], _is_true)

    def __call__(self, states: Sequence[Record | None], now_us: int, /) -> Step[Record, bool]:
        """Refused once another caller holds the key; a second run finds its own answer there."""
        [state] = states
        if state is None or not _is_mine(state, self.owner, self.fence):
            return unchanged(answer=False)
        # Settled already, by this very owner: a repeat of a step whose reply was lost. The first answer stays.
        if state.status is not ClaimStatus.CLAIMED:
            return unchanged(state.status is not ClaimStatus.FREE)
        until_us = now_us + self.keep_us
        done = Record(self.status, state.fence, until_us, self.owner, state.fingerprint, self.answer)
        return (done,), True, (self.keep_us / _MICRO,), (self.wake,)


class Release:
    """Give the key back unused, so that a retry runs again. Answers whether it was held.

    A fence of 0 means that the reply with the fence was lost.
    """

    __slots__ = ("fence", "owner", "wake")
    repeats: ClassVar[Repeats] = "harmless"

    def __init__(self, owner: str, fence: int, wake: str) -> None:
        self.owner = owner
        self.fence = fence
        self.wake = wake

    @property
    def script(self) -> ClaimScript[bool]:
        return ClaimScript(["release", self.owner, str(self.fence), self.wake], _is_true)

    def __call__(self, states: Sequence[Record | None], now_us: int, /) -> Step[Record, bool]:
        """Drop the cell; where the next fence could fall below this one, keep that much of it."""
        [state] = states
        if state is None or state.status is not ClaimStatus.CLAIMED or not _is_mine(state, self.owner, self.fence):
            return unchanged(answer=False)
        # The next fence is at least the clock of the store, so a cell with a smaller one can be dropped.
        if state.fence < now_us:
            return (GONE,), True, (0.0,), (self.wake,)
        # The clock is behind the fence: a fresh cell could give the next claim the same fence.
        free = Record(ClaimStatus.FREE, state.fence, now_us, self.owner, state.fingerprint)
        return (free,), True, (_FENCE_KEPT_S + (state.fence - now_us) / _MICRO,), (self.wake,)
