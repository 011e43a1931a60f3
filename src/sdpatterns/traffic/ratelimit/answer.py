"""What a limiter is asked for, what it answers, and for which of its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sdpatterns.traffic.ratelimit.config import Rate

__all__ = ["Decision", "Limit", "RateKey", "Slot", "check_cost", "decision_of"]

RateKey: TypeAlias = str | Mapping[str, str]
"""Whom a limit is for: a string, or one for each scope of the limiter (`{"user": ..., "ip": ...}`)."""


class Limit:
    """One rate of one scope, with what the steps need of it worked out."""

    __slots__ = ("interval_us", "rate", "scope", "tolerance_us")

    def __init__(self, rate: Rate, scope: str = "") -> None:
        self.rate = rate
        self.scope = scope
        self.interval_us = float(rate.interval_us)
        self.tolerance_us = float(rate.tolerance_us)

    def __str__(self) -> str:
        whose = f"{self.scope}: " if self.scope else ""
        return f"{whose}{self.rate.count} per {self.rate.period_s:g} s, burst {self.rate.limit}"


class Slot(NamedTuple):
    """One cell's part in a request: its limits, and what the algorithm's step answered for them."""

    cell: str
    limits: Sequence[Any]
    booking: Any


class Decision:
    """The answer of a limiter to one request, for the rate that binds: the one with the longest wait, or else
    with the least left.

    `allowed` is the answer. The rest is worked out when it is asked for. There is no constructor
    (`decision_of` makes one), because one in Python would cost as much as the decision itself.
    """

    __slots__ = ("ahead_us", "allowed", "binding", "wait_us")

    allowed: bool
    """Whether the request may pass."""
    binding: Limit
    """The limit that binds."""
    ahead_us: float
    """How far its bookings reach ahead of now."""
    wait_us: float
    """How long until the same request would pass; 0 when it has passed."""

    @property
    def remaining(self) -> int:
        """How many more of cost 1 would pass now."""
        return max(0, int((self.binding.tolerance_us - self.ahead_us) // self.binding.interval_us))

    @property
    def retry_after_s(self) -> float:
        """Seconds until the same request would pass, if nobody else came; 0 when it has passed."""
        return self.wait_us / 1e6

    @property
    def limit(self) -> int:
        """How many pass at once when nothing was used: the burst."""
        return self.binding.rate.limit

    @property
    def reset_after_s(self) -> float:
        """Seconds until nothing of the limit is used any more, if nobody came."""
        return max(0.0, self.ahead_us / 1e6)

    @property
    def rate(self) -> Rate:
        """The rate that binds."""
        return self.binding.rate

    @property
    def scope(self) -> str:
        """The scope of that rate; empty for a limiter without scopes."""
        return self.binding.scope

    def __repr__(self) -> str:
        names = ("allowed", "remaining", "retry_after_s", "limit", "reset_after_s", "scope")
        return f"Decision({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def decision_of(binding: Limit, ahead_us: float, wait_us: float = 0.0) -> Decision:
    """The decision of a request that has to wait so long; one that has not passes."""
    decision = Decision()
    decision.allowed = wait_us <= 0.0
    decision.binding = binding
    decision.ahead_us = ahead_us
    decision.wait_us = wait_us
    return decision


def check_cost(cost: int, burst: int) -> None:
    """Raises `ValueError` for a cost that can never pass."""
    if type(cost) is not int or not 1 <= cost <= burst:
        raise ValueError(f"cost must be a whole number from 1 to {burst}, the burst, got {cost!r}")
