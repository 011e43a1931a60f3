"""What a quota answers: how much of each period of its plan a key has used, and which period binds."""

from __future__ import annotations

from collections.abc import Sequence

from sdpatterns.traffic.quota.config import Period
from sdpatterns.traffic.quota.decision import Usage

__all__ = ["QuotaDecision", "Standing"]


class Standing:
    """One period of a plan: how much of it is used, how long the period is, and when it ends."""

    __slots__ = ("count", "period", "period_s", "reset_after_s", "used")

    def __init__(self, period: Period, count: int, used: int, period_s: float, reset_after_s: float) -> None:
        self.period = period
        self.count = count
        """How many pass in the period."""
        self.used = used
        self.period_s = period_s
        self.reset_after_s = reset_after_s

    @property
    def limit(self) -> int:
        """How many pass at once when nothing was used: all of them."""
        return self.count

    @property
    def remaining(self) -> int:
        """How many are left of them."""
        return max(0, self.count - self.used)

    def __repr__(self) -> str:
        return f"Standing({self.used} of {self.count} this {self.period}, ends in {self.reset_after_s:g} s)"


class QuotaDecision:
    """What the quota answered; its figures are those of the period that binds: of those that refuse
    the one that lasts longest; if none refuses, the one with the least left.
    """

    __slots__ = ("allowed", "binding", "cost", "key", "plan", "retry_after_s", "standings", "taken")

    def __init__(
        self, key: str, plan: str, cost: int, standings: Sequence[Standing], *, allowed: bool, taken: Sequence[Usage]
    ) -> None:
        self.key = key
        self.plan = plan
        self.cost = cost
        self.allowed = allowed
        self.standings = tuple(standings)
        """Every period of the plan."""
        self.taken = taken
        """The usages in which the request is counted; none if it was refused."""
        refusing = [] if allowed else [standing for standing in standings if standing.remaining < cost]
        self.binding = (
            max(refusing, key=lambda standing: standing.reset_after_s)
            if refusing
            else min(standings, key=lambda standing: (standing.remaining, -standing.reset_after_s))
        )
        self.retry_after_s = 0.0 if allowed else self.binding.reset_after_s
        """Seconds until the same request would pass; 0 when it has passed."""

    @property
    def remaining(self) -> int:
        return self.binding.remaining

    @property
    def limit(self) -> int:
        """How many pass in the period that binds."""
        return self.binding.count

    @property
    def reset_after_s(self) -> float:
        """Seconds until that period ends."""
        return self.binding.reset_after_s

    @property
    def rate(self) -> Standing:
        """The period that binds, under the name that a limiter's decision has for it."""
        return self.binding

    def __repr__(self) -> str:
        names = ("allowed", "plan", "remaining", "retry_after_s", "limit", "reset_after_s")
        period = f"period={self.binding.period!r}"
        return f"QuotaDecision({', '.join(f'{name}={getattr(self, name)!r}' for name in names)}, {period})"
