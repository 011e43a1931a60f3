"""What a limiter is asked for, what it answers, and for which of its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from sdpatterns.core.ranges import whole
from sdpatterns.traffic.ratelimit.algorithm import Algorithm, Numbers
from sdpatterns.traffic.ratelimit.config import Rate

__all__ = ["CellState", "Decision", "Limit", "RateKey", "check_cost", "decision_of"]

RateKey: TypeAlias = str | Mapping[str, str]
"""Which key a limit is for: a string, or one for each scope of the limiter (`{"user": ..., "ip": ...}`)."""

CellState: TypeAlias = float | tuple[Numbers, ...]
"""The numbers of each rate of a cell. A single number stands alone, because the garbage collector does not
track it; the fast path in memory writes it as a float, which is exact below 2**53 and faster than such an int."""


class Limit:
    """One rate of one scope, counted by one algorithm."""

    __slots__ = ("ahead_max_us", "algorithm", "params", "rate", "scope")

    def __init__(self, rate: Rate, algorithm: Algorithm, scope: str = "") -> None:
        self.rate = rate
        self.algorithm = algorithm
        self.scope = scope
        self.params = algorithm.params(rate)
        self.ahead_max_us = algorithm.ahead_max_us(rate)

    def __str__(self) -> str:
        scope = f"{self.scope}: " if self.scope else ""
        return f"{scope}{self.rate.count} per {self.rate.period_s:g} s, burst {self.rate.limit}"

    def __repr__(self) -> str:
        return f"Limit({self})"


class Decision:
    """The answer of a limiter to one request, for the rate that binds: the one with the longest wait, or
    with the least left if none waits.

    `allowed` is the answer. The rest is worked out when you ask for it. There is no constructor
    (`decision_of` makes one), because one in Python would cost as much as the decision itself.
    """

    __slots__ = ("allowed", "binding", "now_us", "state", "wait_us")

    allowed: bool
    """Whether the request may pass."""
    binding: Limit
    """The limit that binds."""
    state: float | Numbers
    """The numbers that stand for it now."""
    now_us: float
    """The time of the store."""
    wait_us: float
    """How long until the same request would pass; 0 when it has passed."""

    @property
    def remaining(self) -> int:
        """How many more of cost 1 would pass now."""
        return self.binding.algorithm.remaining(self._numbers, int(self.now_us), self.binding.params)

    @property
    def retry_after_s(self) -> float:
        """Seconds until the same request would pass if no other one came; 0 when it has passed."""
        return self.wait_us / 1e6

    @property
    def limit(self) -> int:
        """How many pass at once when nothing was used: the burst."""
        return self.binding.algorithm.limit(self.binding.rate)

    @property
    def reset_after_s(self) -> float:
        """Seconds until nothing of the limit is used any more, if no request came."""
        idle_us = self.binding.algorithm.idle_at_us(self._numbers, self.binding.params)
        return max(0.0, (idle_us - self.now_us) / 1e6)

    @property
    def rate(self) -> Rate:
        return self.binding.rate

    @property
    def scope(self) -> str:
        """The scope of that rate; empty for a limiter without scopes."""
        return self.binding.scope

    @property
    def _numbers(self) -> Numbers:
        state = self.state
        return state if isinstance(state, tuple) else (int(state),)

    def __repr__(self) -> str:
        names = ("allowed", "remaining", "retry_after_s", "limit", "reset_after_s", "scope")
        return f"Decision({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def decision_of(binding: Limit, state: float | Numbers, now_us: float, wait_us: float = 0.0) -> Decision:
    """The decision of a request that has to wait for `wait_us`. With 0 it passes."""
    decision = Decision()
    decision.allowed = wait_us <= 0.0
    decision.binding = binding
    decision.state = state
    decision.now_us = now_us
    decision.wait_us = wait_us
    return decision


def check_cost(cost: int, burst: int) -> None:
    """Raises `ValueError` for a cost that can never pass."""
    whole("cost", cost, 1, burst, of="the burst")
