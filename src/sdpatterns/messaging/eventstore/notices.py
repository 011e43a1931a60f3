"""The notices that event stores emit. `name` is that of the `EventStore`."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["EventsAppended", "SnapshotNotKept"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EventsAppended(Notice):
    """A command led to events. `attempts` is over 1 where other commands came first."""

    aggregate: str
    stream: str
    events: int
    attempts: int

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "aggregate": self.aggregate}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotNotKept(Notice):
    """A snapshot was not written or not read. The command did not fail: the events are there."""

    aggregate: str
    stream: str
    reason: str

    def labels(self) -> dict[str, str]:
        return {"name": self.name, "aggregate": self.aggregate}
