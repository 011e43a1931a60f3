"""The settings of a lease, and of the patterns that stand on it."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.ranges import number, whole

__all__ = ["LeaseConfig"]

_LEASE_MAX_S = 86_400.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeaseConfig:
    """Checks itself: a setting out of range is a `ValueError` that names it.

    `lease_s`: if the holder does not renew its lease for this long, the next caller gets it. `wait_max_s`: how
    long `guard` and a decorated function wait for it; 0 refuses at once. `waiters_max`: how many callers may wait
    for one key.
    """

    lease_s: float = 10.0
    wait_max_s: float = 60.0
    waiters_max: int = 1_000

    def __post_init__(self) -> None:
        number("lease_s", self.lease_s, 0.001, _LEASE_MAX_S)
        number("wait_max_s", self.wait_max_s, 0.0, _LEASE_MAX_S)
        whole("waiters_max", self.waiters_max, 1, 100_000)
