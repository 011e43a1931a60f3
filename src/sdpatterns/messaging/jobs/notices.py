"""The notices that jobs emit. `name` is that of the `Jobs`."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["JobAbandoned", "JobCompleted", "JobEnqueued", "JobLost", "JobRequeued"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _JobNotice(Notice):
    """Something about one job."""

    job: str
    id: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "job": self.job}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JobEnqueued(_JobNotice):
    """A job is in the queue."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JobCompleted(_JobNotice):
    """Its work is done. `waited_s` is the time from its publication to this attempt."""

    attempt: int
    duration_s: float
    waited_s: float

    def measures(self) -> dict[str, float]:
        return {"duration_s": self.duration_s, "waited_s": self.waited_s}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JobRequeued(_JobNotice):
    """It failed or was refused, and is due again after `delay_s`."""

    attempt: int
    delay_s: float
    error: str
    counts: bool

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "job": self.job, "counts": str(self.counts).lower()}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JobAbandoned(_JobNotice):
    """It has no more attempts: it is a dead letter now, or waits for its next time where it has a schedule."""

    attempt: int
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JobLost(_JobNotice):
    """Its lease ended before its work did: another worker may run it."""

    attempt: int
