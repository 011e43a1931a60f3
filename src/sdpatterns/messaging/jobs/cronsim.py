"""Times in cron's notation, by the library cronsim: `pip install "sdpatterns[cron]"`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import zoneinfo

try:
    import cronsim
except ModuleNotFoundError as cause:
    raise ModuleNotFoundError('this needs cronsim: pip install "sdpatterns[cron]"') from cause

__all__ = ["Cron"]

_MICRO = dt.timedelta(microseconds=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True)
class Cron:
    """Minute, hour, day, month, day of the week: `Cron("0 3 * * *", zone="Europe/Berlin")` is 3:00 there.

    Where clocks are put forward, a time that does not exist comes right after the gap; where they are put back, a
    time that comes twice counts once, as in Debian's cron. An expression that repeats by the hour or the minute
    is not changed. Raises `ValueError` for an expression or a zone that there is not.
    """

    expression: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Check the settings."""
        try:
            zoneinfo.ZoneInfo(self.zone)
            self.next_us(0)
        except (cronsim.CronSimError, zoneinfo.ZoneInfoNotFoundError, StopIteration) as cause:
            raise ValueError(f"no times for {self.expression!r} in {self.zone!r}: {cause}") from cause

    def next_us(self, after_us: int, /) -> int:
        """The next time, in microseconds since 1970."""
        after = (_EPOCH + after_us * _MICRO).astimezone(zoneinfo.ZoneInfo(self.zone))
        found = next(cronsim.CronSim(self.expression, after))
        return (found.astimezone(dt.UTC) - _EPOCH) // _MICRO
