"""What a limiter answers, and for which of its limits."""

from __future__ import annotations

from sdpatterns.traffic.ratelimit.config import Rate

__all__ = ["Decision", "Limit"]


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


class Decision:
    """What the limiter answered, for the rate that binds: the one with the longest wait, or else
    with the least left.

    `allowed` is the answer. The rest is worked out when it is asked for.
    """

    __slots__ = ("_ahead_us", "_limit", "_wait_us", "allowed")

    def __init__(self, limit: Limit, ahead_us: float, wait_us: float = 0.0) -> None:
        self.allowed = wait_us <= 0.0
        self._limit = limit
        self._ahead_us = ahead_us
        self._wait_us = wait_us

    @property
    def remaining(self) -> int:
        """How many more of cost 1 would pass now."""
        return max(0, int((self._limit.tolerance_us - self._ahead_us) // self._limit.interval_us))

    @property
    def retry_after_s(self) -> float:
        """Seconds until the same request would pass, if nobody else came; 0 when it has passed."""
        return self._wait_us / 1e6

    @property
    def limit(self) -> int:
        """How many pass at once when nothing was used: the burst."""
        return self._limit.rate.limit

    @property
    def reset_after_s(self) -> float:
        """Seconds until nothing of the limit is used any more, if nobody came."""
        return max(0.0, self._ahead_us / 1e6)

    @property
    def rate(self) -> Rate:
        """The rate that binds."""
        return self._limit.rate

    @property
    def scope(self) -> str:
        """The scope of that rate; empty for a limiter without scopes."""
        return self._limit.scope

    def __repr__(self) -> str:
        names = ("allowed", "remaining", "retry_after_s", "limit", "reset_after_s", "scope")
        return f"Decision({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"
