"""The notices that a rollout emits."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["RolloutAdvanced", "RolloutCompleted", "RolloutReverted"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RolloutAdvanced(Notice):
    """A step was passed: the new version now gets the share `weight` of the traffic."""

    weight: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RolloutCompleted(Notice):
    """The last step was passed: the new version now gets all traffic."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RolloutReverted(Notice):
    """The new version gets no traffic any more. `cause` is `failures`, `slow`, `silence` or `stopped`."""

    cause: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "cause": self.cause}
