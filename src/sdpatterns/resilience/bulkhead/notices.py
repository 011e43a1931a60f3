"""The notices that a bulkhead emits."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["SlotRefused"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SlotRefused(Notice):
    """A call was refused. `reason` is `full` (no place to wait) or `waited` (too long)."""

    key: str
    reason: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "reason": self.reason}
