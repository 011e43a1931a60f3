"""The notices that a limiter emits."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["LimitBypassed", "LimitReached"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LimitReached(Notice):
    """A request was refused; the key's next chance comes after `retry_after_s`."""

    key: str
    retry_after_s: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LimitBypassed(Notice):
    """The store was away, and the limiter let the request pass (or refused it) as configured."""

    key: str
    policy: str
    error: str

    def labels(self) -> dict[str, str]:
        """The limiter and what it did."""
        return {"name": self.name, "policy": self.policy}
