"""The notices that a retry emits."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["RetriesExhausted", "RetryScheduled"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RetryScheduled(Notice):
    """Attempt number `attempt` failed; the next one comes after `delay_s`.

    `error` is the name of the exception's type, or empty where the result was not wanted.
    """

    attempt: int
    delay_s: float
    error: str

    def labels(self) -> dict[str, str]:
        """The retry and the kind of failure."""
        return {"name": self.name, "error": self.error}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RetriesExhausted(Notice):
    """The last failure reached the caller. `reason` is `attempts`, `deadline` or `retry_after`."""

    attempts: int
    reason: str
    error: str

    def labels(self) -> dict[str, str]:
        """The retry, why it gave up, and the kind of failure."""
        return {"name": self.name, "reason": self.reason, "error": self.error}
