"""One thread that wakes for many: timers for programs without an event loop.

```
work ----- ends in time: its bell is only taken off the list
work -------------------|---- lasts longer: the bell is rung, in the thread of the alarm
```

A thread for each timer would cost more than most of the work that is timed. The one that is shared
begins with the first bell and ends when it wakes and no bell is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sdpatterns.core.forks import drop_in_child

__all__ = ["ALARM", "Alarm"]

Bell = Callable[[], None]


class Alarm:
    """Rings bells when they are due.

    **Keeps**: a bell is rung once, not before its time; one that was taken off is never rung, and
    one that could not be taken off has been rung.
    """

    def __init__(self) -> None:
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Start empty: no bell, no thread, because the thread is the parent's."""
        self._changed = threading.Condition(threading.Lock())
        self._due: dict[Bell, float] = {}
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0

    def put_on(self, bell: Bell, seconds: float) -> None:
        """Have the bell rung in so many seconds. It must be quick, and never raise."""
        at = time.monotonic() + seconds
        with self._changed:
            self._due[bell] = at
            if self._thread is None:
                self._begin(at)
            # The thread sleeps until the earliest bell it knows; only an earlier one has to wake it.
            elif at < self._wakes_at:
                self._changed.notify()

    def take_off(self, bell: Bell) -> bool:
        """Whether the bell has not been rung, and now never will."""
        with self._changed:
            # The thread sleeps on: to wake it for each bell that is not needed would be the price of a thread.
            return self._due.pop(bell, None) is not None

    def _begin(self, wakes_at: float) -> None:
        thread = threading.Thread(target=self._run, name="sdpatterns-alarm", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The caller gets the error. Without a thread a bell that stays on the list would never be rung.
            self._due.clear()
            raise
        self._thread, self._wakes_at = thread, wakes_at

    def _run(self) -> None:
        with self._changed:
            while self._due:
                now = time.monotonic()
                for bell in [bell for bell, at in self._due.items() if at <= now]:
                    del self._due[bell]
                    bell()
                if self._due:
                    self._wakes_at = min(self._due.values())
                    self._changed.wait(self._wakes_at - now)
            self._thread = None


ALARM = Alarm()
"""The alarm of this process."""

drop_in_child(ALARM)
