"""The notices that projections emit. `name` is that of the `Projection`."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["ProjectionAdvanced", "StreamParked", "VersionPublished"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProjectionAdvanced(Notice):
    """Events were applied. `lag` is how many positions of the log are still to come: a gauge, see `of_projection`."""

    version: int
    events: int
    position: int
    lag: int

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "version": str(self.version)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StreamParked(Notice):
    """An event could not be applied: the later ones of its stream wait, the other streams go on."""

    version: int
    stream: str
    attempts: int
    reason: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "version": str(self.version)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VersionPublished(Notice):
    """A version has caught up with the log for the first time: it is the one to read."""

    version: int
