"""What a retry repeats, how often, and how long it waits in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

from sdpatterns.algorithms.backoff import BACKOFFS, Backoff, Delay
from sdpatterns.resilience.ranges import seconds, whole

__all__ = ["ATTEMPTS_LIMIT", "Hint", "RetryConfig", "hinted_s"]

ATTEMPTS_LIMIT = 1_000
"""More attempts than this are a loop, not a retry."""

Hint: TypeAlias = Callable[[Exception], float | None]
"""Reads from a failure how many seconds its sender asked to be left alone; None where it did not."""


def hinted_s(error: Exception) -> float | None:
    """The `retry_after_s` of an exception that has one, as every `Rejected` of this package."""
    found = getattr(error, "retry_after_s", None)
    return found if isinstance(found, (int, float)) else None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RetryConfig:
    """The numbers of a retry, checked."""

    attempts_max: int = 3
    backoff: Backoff | Callable[[int], float] = "full_jitter"
    base_s: float = 0.1
    max_s: float = 10.0
    retry_after: Hint = hinted_s
    retry_after_max_s: float = 60.0
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        """Check the fields. Raises `ValueError` naming the one that is out of range."""
        whole("attempts_max", self.attempts_max, 1, ATTEMPTS_LIMIT)
        seconds("base_s", self.base_s, zero=True)
        seconds("max_s", self.max_s, zero=True)
        seconds("retry_after_max_s", self.retry_after_max_s, zero=True)
        if self.timeout_s is not None:
            seconds("timeout_s", self.timeout_s)
        if self.max_s < self.base_s:
            raise ValueError(f"max_s must be at least base_s ({self.base_s:g}), got {self.max_s!r}")
        if not callable(self.backoff) and self.backoff not in BACKOFFS:
            names = ", ".join(map(repr, BACKOFFS))
            raise ValueError(f"backoff must be one of {names}, or a function, got {self.backoff!r}")

    @property
    def delay(self) -> Delay:
        """The way to back off as a function; one of the user's own gets the repeat's number alone."""
        chosen = self.backoff
        if callable(chosen):
            return lambda repeat, _previous_s, _base_s, max_s, _draw: min(max_s, max(0.0, chosen(repeat)))
        return BACKOFFS[chosen]
