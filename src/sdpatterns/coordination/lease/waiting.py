"""Who waits in this process: an id for each attempt, and the way on which a grant reaches its waiter.

```
another process releases    the store wakes inbox/<process>#<waiter>, and the waiter asks once more
this process releases       the answer of the release says who got it: no question is needed
the next one is known       it goes on under the same lease, and the store is not asked at all
```

Source of the last: Dice, Marathe, Shavit, "Lock cohorting" (2012). Here it passes no waiter.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import NamedTuple

from sdpatterns.coordination.lease.decision import Left
from sdpatterns.core.forks import drop_in_child, new_lock
from sdpatterns.core.runtime import Waiter, current

__all__ = ["Cohort", "Granted", "Waiters", "Waiting", "next_caller", "next_cohort"]


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


# It never begins again, not even in a child: an object that came with the fork keeps its number.
_COHORTS = itertools.count()


def next_cohort(callers: Callable[[], str]) -> str:
    """What the ids of the callers of one object end with."""
    number = f"{next(_COHORTS):x}" if callers is next_caller else callers().rpartition("#")[2]
    return f"~{number}"


class Cohort:
    """Callers of this process that hold one after another under one lease.

    `who` and `fence` are those of the first: by them the store knows the lease. It keeps the fences behind for
    `successors`, who stand right behind the first in its line, so that no waiter is passed. `served` have held since.
    """

    __slots__ = ("fence", "served", "successors", "who")

    def __init__(self, who: str, fence: int, successors: tuple[str, ...] = ()) -> None:
        self.who = who
        self.fence = fence
        self.successors = successors
        self.served: tuple[str, ...] = ()


class Granted(NamedTuple):
    """Permits that are held, the monotonic second at which their lease ends, and whose lease that is."""

    fence: int
    until_s: float
    cohort: Cohort


class Waiting:
    """One caller of this process that stands in a line."""

    __slots__ = ("end_wait", "granted", "is_in_line", "told", "who")

    def __init__(self, who: str) -> None:
        self.who = who
        self.granted: Granted | None = None
        self.told: Waiter | None = None
        """Wakes it; there from when it stands in a line, because most callers never do."""
        self.end_wait: Callable[[], object] | None = None
        """Ends its wait for a signal, where the bus can do that."""
        self.is_in_line = False
        """Whether it has subscribed, or is about to."""

    @property
    def needs_signal(self) -> bool:
        """Whether only a signal ends its wait."""
        return self.is_in_line and self.end_wait is None

    def wake(self) -> None:
        """Let it look at what it was given. One that is not in a line yet looks by itself."""
        if self.told is not None:
            self.told.wake()
        if self.end_wait is not None:
            self.end_wait()


class Waiters:
    """The callers of this process that wait for the keys of one pattern."""

    __slots__ = ("__weakref__", "_in_line", "_leaving", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = new_lock()
        self._waiting: dict[str, Waiting] = {}
        self._leaving: dict[str, int] = {}
        self._in_line: dict[str, Waiting] = {}
        drop_in_child(self)

    def after_fork_in_child(self) -> None:
        """Those that wait do so in the parent."""
        self._waiting = {}
        self._leaving = {}
        self._in_line = {}

    def enter(self, who: str) -> Waiting:
        """It is about to ask. From then on it may be told."""
        waiting = Waiting(who)
        with self._lock:
            self._waiting[who] = waiting
        return waiting

    @property
    def are_in_line(self) -> bool:
        """Whether one stands in a line, so that the inbox is heard already."""
        return bool(self._in_line)

    def stand(self, waiting: Waiting) -> None:
        """It stands in a line from now on."""
        waiting.told = current().waiter()
        waiting.is_in_line = True
        self._in_line[waiting.who] = waiting

    def leave(self, waiting: Waiting) -> None:
        """Wait no longer. Whatever it was told by then is in `granted`."""
        with self._lock:
            self._waiting.pop(waiting.who, None)
            self._in_line.pop(waiting.who, None)

    def follow(self, cohort: Cohort, fence: int, until_s: float) -> Waiting | None:
        """Let the next of the cohort hold, with a larger fence than `fence`; None where none of it waits any more."""
        with self._lock:
            while cohort.successors:
                who, *behind = cohort.successors
                cohort.successors = tuple(behind)
                waiting = self._waiting.get(who)
                # One that is not here has given up its place, or will in a moment.
                if waiting is not None and waiting.granted is None:
                    cohort.served += (who,)
                    waiting.granted = Granted(fence + 1, until_s, cohort)
                    break
            else:
                return None
        waiting.wake()
        return waiting

    def is_leaving(self, cell: str) -> bool:
        """Whether a release of this process is on its way, whose answer may say that one of its waiters has it."""
        return cell in self._leaving

    def begin_leaving(self, cell: str) -> None:
        """A release is on its way."""
        with self._lock:
            self._leaving[cell] = self._leaving.get(cell, 0) + 1

    def end_leaving(self, cell: str, begin_s: float, left: Left) -> bool:
        """It has ended: tell those that got something, and whether one did.

        Their leases count from `begin_s`, before it was sent.
        """
        told = []
        # Several releases of one key may be on their way at once, in several threads, so they are counted.
        with self._lock:
            count = self._leaving.pop(cell, 1) - 1
            if count:
                self._leaving[cell] = count
            for who, fence, lease_us in left.granted:
                waiting = self._waiting.get(who)
                if waiting is not None and waiting.granted is None:
                    cohort = Cohort(who, fence, left.successors)
                    waiting.granted = Granted(fence, begin_s + lease_us / 1e6, cohort)
                    told.append(waiting)
        # Outside of the lock: waking may run code of the runtime, and no lock is held across it.
        for waiting in told:
            waiting.wake()
        return bool(told)
