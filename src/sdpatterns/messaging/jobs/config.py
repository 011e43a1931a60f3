"""How a job is retried, what is kept of it, and which earlier forms of its arguments are still read."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from sdpatterns.core.judging import plain
from sdpatterns.core.ranges import number, seconds, whole
from sdpatterns.messaging.consumer.config import Redelivery

__all__ = ["JobConfig", "JobOptions", "Upgrade"]

Upgrade: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Turns the arguments of one version into those of the next, by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobConfig(Redelivery):
    """The settings of one kind of job, checked.

    A result is kept for `keep_result_s`, and not at all where that is None. `upgrades` has a function for each earlier
    version that may still be in the queue.
    """

    keep_result_s: float | None = None
    version: int = 1
    upgrades: Mapping[int, Upgrade] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if self.keep_result_s is not None:
            number("keep_result_s", self.keep_result_s, 1.0, 10 * 366 * 86_400.0)
        whole("version", self.version, 1)
        for version, upgrade in self.upgrades.items():
            whole("upgrades", version, 1, self.version - 1, of="the version before this one")
            plain("upgrades", upgrade)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What may differ from one job to the next of its kind. See `Message` for `key`, `tenant`, `rank_s`, `replace`.

    `id` is random where it is None. `deadline_s` is how long after it was enqueued the job is still of use: a
    worker parks it after that, and the handler has that deadline. `due_at` is an instant, with its time zone, in place
    of `delay_s`; how long that is from now is counted by the clock of this machine.
    """

    id: str | None = None
    key: str | None = None
    tenant: str = ""
    delay_s: float = 0.0
    rank_s: float = 0.0
    replace: bool = False
    deadline_s: float | None = None
    due_at: dt.datetime | None = None

    def __post_init__(self) -> None:
        """Check what the message does not."""
        if self.deadline_s is not None:
            seconds("deadline_s", self.deadline_s)
        if self.due_at is not None:
            if self.due_at.tzinfo is None:
                raise ValueError(f"due_at must be a datetime with a time zone, got {self.due_at!r}")
            if self.delay_s:
                raise ValueError(f"due_at and delay_s exclude each other, got delay_s={self.delay_s!r} too")

    def delay_from_s(self, now_us: int) -> float:
        """How long the job has to wait from that moment."""
        if self.due_at is None:
            return self.delay_s
        return max(0.0, self.due_at.timestamp() - now_us / 1_000_000)
