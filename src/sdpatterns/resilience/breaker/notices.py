"""The notices that a circuit breaker emits."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["CallRefused", "CircuitClosed", "CircuitHalfOpened", "CircuitOpened", "CircuitShared"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CircuitOpened(Notice):
    """Calls are refused from now on, for `open_s` seconds (None: until it is set by hand again).

    `reason` is the condition that was met: `consecutive`, `failure_rate`, `slow_call_rate`,
    `probe` (it failed), `probe_time` (it did not come back) or `manual`.
    """

    key: str
    reason: str
    open_s: float | None

    def labels(self) -> dict[str, str]:
        """The breaker and what made it open."""
        return {"name": self.name, "reason": self.reason}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CircuitHalfOpened(Notice):
    """The open time is over: a few probes are let through."""

    key: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CircuitClosed(Notice):
    """All calls pass again. `reason` is `probes` (they succeeded) or `manual`."""

    key: str
    reason: str

    def labels(self) -> dict[str, str]:
        """The breaker and what made it close."""
        return {"name": self.name, "reason": self.reason}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CallRefused(Notice):
    """A call was held back; `enforced` is False where the breaker only observes and let it pass."""

    key: str
    retry_after_s: float | None
    enforced: bool

    def labels(self) -> dict[str, str]:
        """The breaker, and whether the refusal was real."""
        return {"name": self.name, "enforced": str(self.enforced).lower()}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CircuitShared(Notice):
    """`keys_max` circuits are in use: a new key was given the circuit shared by all new keys."""

    key: str
