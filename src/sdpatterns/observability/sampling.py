"""Which log lines are written when there are too many: some of the events, and whole traces of them."""

from __future__ import annotations

import logging
import random as random_numbers
from collections.abc import Callable, Mapping

from sdpatterns.core import tracing
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.forks import new_lock
from sdpatterns.core.judging import plain

__all__ = ["Sampling"]

_EVENTS_MAX = 1_000


class Sampling(logging.Filter):
    """Keeps a share of each event's lines; add it to a handler, or give it to structlog.

    `rates` is the share by event (the message as it stands in the code), `rate` that of all others.
    `burst_max` bounds the lines of one event in each second.

    **Keeps**: warnings and worse, always. Of one trace all lines of events with the same share are
    kept, or none, in every process alike, because its id decides; without a trace chance does.
    `burst_max` counts at most 1,000 events separately; more share one count.
    **May fail** with nothing; `ValueError` for a share outside 0 to 1 or a burst below 1.
    **Costs** under a microsecond a line.
    """

    def __init__(
        self,
        rates: Mapping[str, float] | None = None,
        *,
        rate: float = 1.0,
        burst_max: int | None = None,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        super().__init__()
        self._rates = dict(rates or {})
        for event, share in (*self._rates.items(), ("rate", rate)):
            if not 0 <= share <= 1:
                raise ValueError(f"{event} must be from 0 to 1, got {share!r}")
        if burst_max is not None and burst_max < 1:
            raise ValueError(f"burst_max must be at least 1, got {burst_max!r}")
        self._rate = rate
        self._burst_max = burst_max
        self._random = plain("random", random)
        self._lock = new_lock()
        self._second = 0
        self._counts: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        return self.keeps(str(record.msg), record.levelno)

    def keeps(self, event: str, level: int) -> bool:
        """Whether a line of this event and level is written."""
        if level >= logging.WARNING:
            return True
        share = self._rates.get(event, self._rate)
        return (share >= 1 or self._lot() < share) and self._has_room(event)

    def _lot(self) -> float:
        here = tracing.here()
        # The last 7 bytes of a trace id are the random ones, where not all are.
        return self._random() if here is None else int(here.trace_id[-14:], 16) / 2**56

    def _has_room(self, event: str) -> bool:
        if self._burst_max is None:
            return True
        second = int(SYSTEM.monotonic())
        with self._lock:
            if second != self._second:
                self._second, self._counts = second, {}
            name = event if event in self._counts or len(self._counts) < _EVENTS_MAX else ""
            self._counts[name] = count = self._counts.get(name, 0) + 1
        return count <= self._burst_max
