"""What happens to events that wait in a queue. `name` is that of the outbox, or of the topic and its group."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.notices import Notice

__all__ = ["EventHandled", "EventParked", "EventPublished", "EventRequeued"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _EventNotice(Notice):
    """Something about one event."""

    id: str
    attempt: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EventPublished(_EventNotice):
    """The target has it. `lag_s` is the time since it was written."""

    lag_s: float

    def measures(self) -> dict[str, float]:
        return {"lag_s": self.lag_s}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EventHandled(_EventNotice):
    """The handler of a group is done with it. `lag_s` is the time since the group's queue had it."""

    lag_s: float

    def measures(self) -> dict[str, float]:
        return {"lag_s": self.lag_s}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EventRequeued(_EventNotice):
    """The target or handler failed, and gets it again after `delay_s`; later events of its subject wait."""

    delay_s: float
    error: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EventParked(_EventNotice):
    """It is a dead letter now, and the next event of its subject goes on."""

    reason: str
