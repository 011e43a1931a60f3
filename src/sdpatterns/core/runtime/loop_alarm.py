"""One timer of an event loop that wakes for many: see `alarm`, which does it for threads.

Most work ends in time, and a timer for each of them would cost more than all else that is done for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import weakref
from collections.abc import Callable

__all__ = ["LoopAlarm", "alarm_of"]

_GONE_MAX = 1_000


class LoopAlarm:
    """Rings the bells of one loop.

    **Keeps**: a bell is rung once, in the context of the caller that put it on, and not before its time; one that was
    taken off is never rung.
    """

    __slots__ = ("_bells", "_count", "_due", "_loop", "_timer", "_wakes_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._count = itertools.count()
        self._bells: dict[int, tuple[Callable[[], None], contextvars.Context]] = {}
        # The times of all that were put on, with their numbers; those that were taken off are passed over.
        self._due: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is the alarm of that loop."""
        return self._loop() is loop

    def put_on(self, bell: Callable[[], None], after_s: float) -> int:
        """Have it rung in so many seconds; gives its number."""
        loop = self._loop()
        assert loop is not None
        at, number = loop.time() + after_s, next(self._count)
        self._bells[number] = (bell, contextvars.copy_context())
        heapq.heappush(self._due, (at, number))
        if self._timer is None or at < self._wakes_at:
            self._set(loop, self._due[0][0])
        if len(self._due) > _GONE_MAX + 2 * len(self._bells):
            self._due = [(at, number) for at, number in self._due if number in self._bells]
            heapq.heapify(self._due)
        return number

    def take_off(self, number: int) -> None:
        """Do not ring it. The timer stays: the next ones need it."""
        self._bells.pop(number, None)

    def _set(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # A context of its own, because it belongs to none of those for which it wakes.
        self._timer, self._wakes_at = loop.call_at(at, self._ring, context=contextvars.Context()), at

    def _ring(self) -> None:
        loop = self._loop()
        assert loop is not None
        self._timer = None
        # A loop runs a timer up to one tick of its clock early.
        now = max(loop.time(), self._wakes_at)
        try:
            while self._due and (self._due[0][0] <= now or self._due[0][1] not in self._bells):
                _, number = heapq.heappop(self._due)
                found = self._bells.pop(number, None)
                if found is not None:
                    bell, context = found
                    context.run(bell)
        finally:
            # Also where one of them raised.
            if self._due:
                self._set(loop, self._due[0][0])


_ALARMS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopAlarm] = weakref.WeakKeyDictionary()
_last_alarm: LoopAlarm | None = None


def alarm_of(loop: asyncio.AbstractEventLoop) -> LoopAlarm:
    """The alarm of a loop."""
    global _last_alarm  # noqa: PLW0603 - most programs have one loop, and to look it up costs more than all else here
    alarm = _last_alarm
    if alarm is None or not alarm.is_of(loop):
        alarm = _ALARMS.get(loop)
        if alarm is None:
            # A task that was left in a closed loop keeps it, and so its alarm.
            for old in [each for each in _ALARMS if each.is_closed()]:
                del _ALARMS[old]
            alarm = _ALARMS[loop] = LoopAlarm(loop)
        _last_alarm = alarm
    return alarm
