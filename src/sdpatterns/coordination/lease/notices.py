"""The notices that a lease, a semaphore and an election emit."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["LeaseLeft", "LeaseRefused", "LeaseReleased", "LeaseTaken"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LeaseTaken(Notice):
    """A caller holds the lease of a key, after it waited for so long."""

    key: str
    fence: int
    waited_s: float

    def measures(self) -> dict[str, float]:
        return {"waited_s": self.waited_s}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LeaseRefused(Notice):
    """A caller got no lease: others hold it (`held`), it waited too long (`waited`), or too many wait (`full`)."""

    key: str
    why: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "why": self.why}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LeaseReleased(Notice):
    """The holder gave the lease back."""

    key: str
    fence: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LeaseLeft(Notice):
    """The work outlived its lease, or the release failed: the key is free when the lease is over."""

    key: str
    fence: int
    error: str
