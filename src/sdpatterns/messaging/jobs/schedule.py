"""Jobs that come again and again.

The message of a schedule is its job: it waits for the next time, runs, and is put back for the time after it, in the
one step that settles it. So there is no moment at which a crash could run a time twice, or lose one, beyond what
holds for every job.

```
published for 3:00 --> claimed at 3:00 --> handler --> settled: due again at 3:00 tomorrow
```
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias, get_args

from sdpatterns.core.ranges import number, one_of
from sdpatterns.ports.queue import Message

__all__ = ["Every", "Missed", "Schedule", "Scheduled", "Times"]

Missed: TypeAlias = Literal["once", "each"]
"""What happens to times that passed while no worker ran: one job for all of them, or one for each."""


class Times(Protocol):
    """The times of a schedule, such as `Every` or `sdpatterns.messaging.jobs.cronsim.Cron`."""

    def next_us(self, after_us: int, /) -> int:
        """The first time after that one, in microseconds since 1970."""
        ...


@dataclasses.dataclass(frozen=True)
class Every:
    """Every so many seconds, counted from 1970, so that all workers mean the same times."""

    period_s: float

    def __post_init__(self) -> None:
        """Check the period."""
        number("period_s", self.period_s, 1.0, 366 * 86_400.0)

    def next_us(self, after_us: int, /) -> int:
        """The next multiple of the period."""
        period_us = round(self.period_s * 1_000_000)
        return (after_us // period_us + 1) * period_us


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """A job and its times. `repr(times)` tells whether the times were changed since the last release."""

    name: str
    message: Message
    times: Times
    missed: Missed = "once"

    def __post_init__(self) -> None:
        """Check the settings."""
        one_of("missed", self.missed, get_args(Missed))

    @property
    def message_id(self) -> str:
        """The id of its message: there is one in the queue at a time."""
        return f"schedule/{self.name}"

    def first(self, now_us: int) -> Message:
        """Its message, due at the next time."""
        at_us = self.times.next_us(now_us)
        scheduled = Scheduled(self.name, at_us, 0)
        return dataclasses.replace(
            self.message, id=self.message_id, delay_s=(at_us - now_us) / 1_000_000,
            headers={**self.message.headers, **scheduled.headers()},
        )  # fmt: skip

    def after(self, scheduled: Scheduled, now_us: int, attempts: int) -> Scheduled:
        """The time after this one; `attempts` is what the queue has counted so far."""
        from_us = scheduled.at_us if self.missed == "each" else max(scheduled.at_us, now_us)
        return Scheduled(self.name, self.times.next_us(from_us), attempts)


@dataclasses.dataclass(frozen=True)
class Scheduled:
    """What the headers of a schedule's message say: its time, and how many attempts came before it was put back."""

    name: str
    at_us: int
    attempts: int

    def headers(self) -> dict[str, str]:
        """As headers."""
        return {"schedule": self.name, "schedule-at": str(self.at_us), "schedule-attempts": str(self.attempts)}

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Scheduled | None:
        """From headers; None for a message of no schedule."""
        if "schedule" not in headers:
            return None
        return cls(headers["schedule"], int(headers["schedule-at"]), int(headers["schedule-attempts"]))
