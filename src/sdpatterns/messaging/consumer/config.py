"""How often, and after which pauses, a message that failed is tried again."""

from __future__ import annotations

import dataclasses

from sdpatterns.algorithms.backoff import BACKOFFS, Backoff
from sdpatterns.core.ranges import one_of, seconds, whole

__all__ = ["ATTEMPTS_LIMIT", "Redelivery"]

ATTEMPTS_LIMIT = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Redelivery:
    """How often a message is tried before it is parked, and with which pauses: see `sdpatterns.algorithms.backoff`.

    `give_up_on` names exceptions that no further attempt would mend. An exception that asks for a longer pause
    than `retry_after_max_s` ends the attempts, too.
    """

    attempts_max: int = 5
    backoff: Backoff = "full_jitter"
    base_s: float = 1.0
    max_s: float = 300.0
    retry_after_max_s: float = 86_400.0
    give_up_on: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        """Check the settings."""
        whole("attempts_max", self.attempts_max, 1, ATTEMPTS_LIMIT)
        one_of("backoff", self.backoff, tuple(BACKOFFS))
        seconds("base_s", self.base_s, zero=True)
        seconds("max_s", self.max_s, zero=True)
        seconds("retry_after_max_s", self.retry_after_max_s, zero=True)
        if self.max_s < self.base_s:
            raise ValueError(f"max_s must be at least base_s ({self.base_s:g}), got {self.max_s!r}")
