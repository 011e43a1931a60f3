"""The notices that a quota emits."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["QuotaBypassed", "QuotaReached", "QuotaRefused"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class QuotaReached(Notice):
    """A share of a period's allowance is used now: emitted once, by the request that reached it.

    `share` is a part of 1, as `notify_at` has it; `used` and `limit` are counts.
    """

    key: str
    plan: str
    period: str
    share: float
    used: int
    limit: int

    def labels(self) -> dict[str, str]:
        """The quota, the plan, the period and the share."""
        return {"name": self.name, "plan": self.plan, "period": self.period, "share": f"{self.share:.15g}"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class QuotaRefused(Notice):
    """A request was refused; the period that refused it ends after `retry_after_s`."""

    key: str
    plan: str
    period: str
    retry_after_s: float

    def labels(self) -> dict[str, str]:
        """The quota, the plan and the period."""
        return {"name": self.name, "plan": self.plan, "period": self.period}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class QuotaBypassed(Notice):
    """The store was away, and the quota let the request pass (or refused it) as configured."""

    key: str
    policy: str
    error: str

    def labels(self) -> dict[str, str]:
        """The quota and what it did."""
        return {"name": self.name, "policy": self.policy}
