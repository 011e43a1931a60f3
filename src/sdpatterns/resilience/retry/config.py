"""What a retry repeats, how often, and how long it waits in between."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import TypeAlias

from sdpatterns.algorithms.backoff import BACKOFFS, Backoff, Delay
from sdpatterns.core.judging import NotAwaited, about_failures, answering
from sdpatterns.core.ranges import seconds, whole

__all__ = ["ATTEMPTS_LIMIT", "Hint", "RetryConfig", "hint_of", "hinted_s"]

_log = logging.getLogger("sdpatterns")

ATTEMPTS_LIMIT = 1_000
"""More attempts than this are a loop, not a retry."""

Hint: TypeAlias = Callable[[Exception], float | None]
"""Reads from a failure how many seconds its sender asked to be left alone; None where it did not."""


def hinted_s(error: Exception) -> float | None:
    """The `retry_after_s` of an exception that has one, as every `Rejected` of this package."""
    found = getattr(error, "retry_after_s", None)
    return found if isinstance(found, (int, float)) else None


def hint_of(retry_after: Hint) -> Hint:
    """`retry_after` as a function that never fails: anything but a number of seconds of 0 or more is no hint."""
    ask = about_failures("retry_after", retry_after, otherwise=None)

    def hint(failure: Exception) -> float | None:
        found: object = ask(failure)
        return found if isinstance(found, (int, float)) and found >= 0 else None

    return hint


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
        whole("attempts_max", self.attempts_max, 1, ATTEMPTS_LIMIT)
        seconds("base_s", self.base_s, zero=True)
        seconds("max_s", self.max_s, zero=True)
        seconds("retry_after_max_s", self.retry_after_max_s, zero=True)
        if self.timeout_s is not None:
            seconds("timeout_s", self.timeout_s)
        if self.max_s < self.base_s:
            raise ValueError(f"max_s must be at least base_s ({self.base_s:g}), got {self.max_s!r}")
        hint_of(self.retry_after)
        if callable(self.backoff):
            answering("backoff", self.backoff)
        elif self.backoff not in BACKOFFS:
            names = ", ".join(map(repr, BACKOFFS))
            raise ValueError(f"backoff must be one of {names}, or a function, got {self.backoff!r}")

    @property
    def delay(self) -> Delay:
        """The way to back off as a function; one of the user's own gets the repeat's number alone."""
        chosen = self.backoff
        return _own(chosen) if callable(chosen) else BACKOFFS[chosen]


def _own(backoff: Callable[[int], float]) -> Delay:
    ask = answering("backoff", backoff)

    def delay_s(repeat: int, _previous_s: float, _base_s: float, max_s: float, _draw: float) -> float:
        """What the function says, within the bounds; where it fails, the longest wait."""
        try:
            return min(max_s, max(0.0, ask(repeat)))
        except NotAwaited:
            raise
        except Exception:  # noqa: BLE001 - the failure of the call counts, not that of the function
            _log.exception("backoff failed on repeat %s, and is taken as max_s", repeat)
            return max_s

    return delay_s
