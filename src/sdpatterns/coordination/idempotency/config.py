"""The settings of an idempotency policy."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from sdpatterns.core.ranges import number, one_of

__all__ = ["IdempotencyConfig", "OnBusy", "OnOutage"]

OnBusy: TypeAlias = Literal["refuse", "wait"]
OnOutage: TypeAlias = Literal["refuse", "allow"]

_LEASE_MAX_S = 86_400.0
_KEEP_MAX_S = 366 * 86_400.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdempotencyConfig:
    """Checks itself: a setting out of range is a `ValueError` that names it.

    `lease_s`: if the owner of a claim does not renew it for this long, the key is free again. `keep_s`: how long an
    answer is kept. `on_busy`: what a second caller does while the first one works; a waiting one
    gives up after `wait_max_s`. `on_outage`: what happens while the store is away, `"allow"` runs
    the work unprotected. `answer_bytes_max`: a longer answer is not stored.
    """

    lease_s: float = 30.0
    keep_s: float = 86_400.0
    on_busy: OnBusy = "refuse"
    wait_max_s: float = 30.0
    on_outage: OnOutage = "refuse"
    answer_bytes_max: int = 1_048_576

    def __post_init__(self) -> None:
        number("lease_s", self.lease_s, 0.001, _LEASE_MAX_S)
        number("keep_s", self.keep_s, 0.001, _KEEP_MAX_S)
        number("wait_max_s", self.wait_max_s, 0.0, _LEASE_MAX_S)
        number("answer_bytes_max", self.answer_bytes_max, 1, 1 << 30)
        one_of("on_busy", self.on_busy, ("refuse", "wait"))
        one_of("on_outage", self.on_outage, ("refuse", "allow"))
