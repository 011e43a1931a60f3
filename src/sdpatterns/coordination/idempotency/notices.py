"""The notices that an idempotency policy emits."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = [
    "AnswerNotStored",
    "AnswerReplayed",
    "AnswerStored",
    "ClaimBypassed",
    "ClaimLeft",
    "ClaimRefused",
    "ClaimReleased",
    "ClaimTaken",
]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClaimTaken(Notice):
    """A caller owns the key and begins the work."""

    key: str
    fence: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRefused(Notice):
    """A caller was refused: the work is in flight (`held`), the request differs (`reused`), or the answer
    of the work was not kept (`spent`).
    """

    key: str
    why: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "why": self.why}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClaimReleased(Notice):
    """The work failed or was cancelled; the next caller runs it again."""

    key: str
    fence: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClaimLeft(Notice):
    """The work outlived its lease, or its release failed: the key is free when the lease is over."""

    key: str
    fence: int
    error: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClaimBypassed(Notice):
    """The store was away, and the work ran without a claim, as configured."""

    key: str
    error: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AnswerStored(Notice):
    """The work is done; its answer (or its declared error) is kept for later callers."""

    key: str
    fence: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AnswerNotStored(Notice):
    """The work is done, and its answer could not be kept."""

    key: str
    fence: int
    error: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AnswerReplayed(Notice):
    """A caller was given the stored answer; nothing ran."""

    key: str
    fence: int
