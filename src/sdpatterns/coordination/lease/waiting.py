"""Who waits in this process: an id for each attempt, and the way on which a grant reaches its waiter.

```
another process releases    the store wakes inbox/<process>#<waiter>, and the waiter asks once more
this process releases       the answer of the release says who got it: no question is needed
```
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import NamedTuple

from sdpatterns.coordination.lease.decision import Grant
from sdpatterns.core.forks import drop_in_child, new_lock
from sdpatterns.core.runtime import Waiter, current

__all__ = ["Granted", "Waiters", "Waiting", "next_caller"]


class _Process:
    """The name of this process, and a count of those that asked here."""

    def __init__(self) -> None:
        self.after_fork_in_child()
        drop_in_child(self)

    def after_fork_in_child(self) -> None:
        """A name of its own, so that no caller here is taken for one of the parent's."""
        self.name = os.urandom(8).hex()
        self.count = itertools.count()


_PROCESS = _Process()


def next_caller() -> str:
    """An id that no other attempt of any process has. What stands before the `#` names the process."""
    return f"{_PROCESS.name}#{next(_PROCESS.count):x}"


class Granted(NamedTuple):
    """Permits that are held, and the monotonic second at which their lease ends."""

    fence: int
    until_s: float


class Waiting:
    """One caller of this process that stands in a line."""

    __slots__ = ("end_wait", "granted", "told", "who")

    def __init__(self, who: str) -> None:
        self.who = who
        self.granted: Granted | None = None
        self.told: Waiter = current().waiter()
        self.end_wait: Callable[[], object] | None = None
        """Ends its wait for a signal, where the bus can do that."""

    def tell(self, granted: Granted) -> None:
        """It got something."""
        self.granted = granted
        self.told.wake()
        if self.end_wait is not None:
            self.end_wait()


class Waiters:
    """The callers of this process that wait for the keys of one pattern."""

    __slots__ = ("__weakref__", "_leaving", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = new_lock()
        self._waiting: dict[str, Waiting] = {}
        self._leaving: dict[str, int] = {}
        drop_in_child(self)

    def after_fork_in_child(self) -> None:
        """Those that wait do so in the parent."""
        self._waiting = {}
        self._leaving = {}

    def __bool__(self) -> bool:
        """Whether one waits, so that the inbox is heard already."""
        return bool(self._waiting)

    def enter(self, who: str) -> Waiting:
        """Begin to wait."""
        waiting = Waiting(who)
        with self._lock:
            self._waiting[who] = waiting
        return waiting

    def leave(self, who: str) -> None:
        """Wait no longer."""
        with self._lock:
            self._waiting.pop(who, None)

    def is_leaving(self, cell: str) -> bool:
        """Whether a release of this process is on its way, whose answer may say that one of its waiters has it."""
        return cell in self._leaving

    def begin_leaving(self, cell: str) -> None:
        """A release is on its way."""
        with self._lock:
            self._leaving[cell] = self._leaving.get(cell, 0) + 1

    def end_leaving(self, cell: str, begin_s: float, granted: tuple[Grant, ...]) -> bool:
        """It has ended: tell those that got something, and whether one did.

        Their leases count from `begin_s`, before it was sent.
        """
        # Several releases of one key may be on their way at once, in several threads, so they are counted.
        with self._lock:
            left = self._leaving.pop(cell, 1) - 1
            if left:
                self._leaving[cell] = left
            told = [(self._waiting.get(grant.who), grant) for grant in granted]
        # Outside of the lock: waking may run code of the runtime, and no lock is held across it.
        for waiting, grant in told:
            if waiting is not None:
                waiting.tell(Granted(grant.fence, begin_s + grant.lease_us / 1e6))
        return any(waiting is not None for waiting, _ in told)
