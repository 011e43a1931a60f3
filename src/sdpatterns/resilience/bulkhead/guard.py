"""Slots and a queue.

```
calls -->  [ queue: queue_max places, first come first served ] -->  [ concurrent_max slots ]
              full, or waited max_wait_s: BulkheadFull
```

A slot that is given back goes straight to the caller that waits longest, so no caller that arrives
later can take it on the way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.forks import drop_in_child, new_lock
from sdpatterns.core.guard import StatefulGuard
from sdpatterns.core.keys import KeyOf, check_key, check_name
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.policy import AsyncCall, Policy
from sdpatterns.core.ranges import seconds, whole
from sdpatterns.core.runtime import Waiter, current
from sdpatterns.core.tracing import TRACERS, Span, in_span
from sdpatterns.errors import BulkheadFull
from sdpatterns.resilience.bulkhead.notices import SlotRefused

__all__ = ["Bulkhead", "Occupancy"]

_SLOTS_LIMIT = 1_000_000


class Occupancy(NamedTuple):
    """How full a bulkhead is."""

    running: int
    waiting: int


class Place:
    """A place in the queue. `granted` turns true, under the lock, when the call has got a slot."""

    __slots__ = ("granted", "waiter")

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.granted = False


class Lane:
    """The slots of one key. The bulkhead holds the lock around each method."""

    __slots__ = ("free", "queue", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.empty()

    def empty(self) -> None:
        """All slots are free and no call waits."""
        self.free = self.slots
        self.queue: OrderedDict[Place, None] = OrderedDict()

    def give_back(self) -> Place | None:
        """Hand a slot to the first in the queue, which the caller then wakes; with no queue the slot is free."""
        if not self.queue:
            # Never above `slots`, because in a forked child a call may end that began before the fork.
            self.free = min(self.free + 1, self.slots)
            return None
        place, _ = self.queue.popitem(last=False)
        place.granted = True
        return place


class Bulkhead(StatefulGuard):
    """Limits how many calls run at once: `concurrent_max` run, `queue_max` more wait, others are refused.

    ```python
    import asyncio
    from sdpatterns import Bulkhead

    reports = Bulkhead("reports", concurrent_max=2, queue_max=10, max_wait_s=1.0)

    @reports.protect
    async def render(report: str) -> str:
        return report.upper()

    assert asyncio.run(render("sales")) == "SALES"
    ```

    With a key (`reports.by("tenant-7")`) each key has its own slots and queue, which exist only
    while a call is in them.

    **Keeps**: never more than `concurrent_max` inside, over all threads and loops; first come, first
    served; a caller cancelled in the queue, even as its turn comes, takes no slot with it. No
    caller waits past its deadline.

    **May fail** with `BulkheadFull`.

    **Costs** one lock each way; no checkpoint when a slot is free. About 300 bytes per call in the
    queue.
    """

    traits = frozenset({"holds_slot"})

    def __init__(
        self,
        name: str,
        /,
        *,
        concurrent_max: int,
        queue_max: int = 0,
        max_wait_s: float | None = None,
    ) -> None:
        self.name = check_name("Bulkhead", name)
        self.concurrent_max = whole("concurrent_max", concurrent_max, 1, _SLOTS_LIMIT)
        self.queue_max = whole("queue_max", queue_max, 0, _SLOTS_LIMIT)
        self.max_wait_s = None if max_wait_s is None else seconds("max_wait_s", max_wait_s)
        self._lock = new_lock()
        self._lane = Lane(concurrent_max)
        self._lanes: dict[str, Lane] = {"": self._lane}
        drop_in_child(self)

    def after_fork_in_child(self) -> None:
        """Start empty: the calls that hold slots, and those that wait for one, run in the parent."""
        self._lane.empty()
        self._lanes = {"": self._lane}

    @property
    def never_waits(self) -> bool:
        """True without a queue: a call then enters at once or not at all."""
        return self.queue_max == 0

    def describe(self) -> str:
        wait = "" if self.max_wait_s is None else f" up to {self.max_wait_s:g} s"
        return f"Bulkhead {self.name!r}: {self.concurrent_max} at once, {self.queue_max} waiting{wait}"

    def standing(self) -> str:
        """How many run and wait without a key, and how many keys are in use."""
        keys = len(self._lanes) - 1
        more = f", {keys} keys in use" if keys else ""
        return f"{self.concurrent_max - self._lane.free} running, {len(self._lane.queue)} waiting{more}"

    def occupancy(self, key: str = "") -> Occupancy:
        """How many run and how many wait just now."""
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None:
                return Occupancy(0, 0)
            return Occupancy(self.concurrent_max - lane.free, len(lane.queue))

    async def enter(self, key: str, /) -> str:
        """A slot, after waiting for it where that is allowed. Raises `BulkheadFull`."""
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[check_key(key)] = Lane(self.concurrent_max)
            if lane.free:
                lane.free -= 1
                return key
            if len(lane.queue) >= self.queue_max:
                place = None
            else:
                place = Place(current().waiter())
                lane.queue[place] = None
        if place is None:
            raise self._refusal(key, "full")
        await self._turn(key, lane, place)
        return key

    async def _turn(self, key: str, lane: Lane, place: Place) -> None:
        try:
            await place.waiter.wait(self._patience_s())
        except BaseException:
            if not self._quit(lane, place):
                self.leave(key, Outcome.CANCELLED, None)
            raise
        if self._quit(lane, place):
            raise self._refusal(key, "waited")

    def _patience_s(self) -> float | None:
        left_s = deadline_left_s()
        if left_s is None or (self.max_wait_s is not None and self.max_wait_s < left_s):
            return self.max_wait_s
        return max(0.0, left_s)

    def _quit(self, lane: Lane, place: Place) -> bool:
        """Leave the queue; False where the slot has come first."""
        with self._lock:
            if place.granted:
                return False
            del lane.queue[place]
            return True

    def leave(self, permit: str, outcome: Outcome, error: BaseException | None, /) -> None:
        """Give the slot back, or to the first caller in the queue."""
        with self._lock:
            lane = self._lanes.get(permit)
            if lane is None:  # it was taken before this process was forked
                return
            place = lane.give_back()
            if lane.free == self.concurrent_max and permit:
                del self._lanes[permit]
        if place is not None:
            place.waiter.wake()

    def _refusal(self, key: str, reason: str) -> BulkheadFull:
        if LISTENERS:
            tell(SlotRefused(name=self.name, key=key, reason=reason))
        return BulkheadFull(self.name, key)

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        """The call in a slot; without a key, by a shorter way when one is free."""
        if key is not None:
            return super().wrap(call, key)
        lane, enter, leave = self._lane, self.enter, self.leave
        # Half the price of `with` on the same lock.
        acquire, release = self._lock.acquire, self._lock.release

        async def slotted(*args: Any, _span: Span | None = None, **kwargs: Any) -> Any:
            """One call on a slot of its lane."""
            if TRACERS and _span is None:
                return await in_span(self, slotted, args, kwargs)
            acquire()
            try:
                free = lane.free
                if free:
                    lane.free = free - 1
            finally:
                release()
            if not free:
                await enter("")
            try:
                return await call(*args, **kwargs)
            finally:
                acquire()
                try:
                    queued = bool(lane.queue)
                    if not queued and lane.free < lane.slots:
                        lane.free += 1
                finally:
                    release()
                if queued:
                    leave("", Outcome.SUCCESS, None)

        return slotted

    def doubts(self, outside: Sequence[Policy], inside: Sequence[Policy], /) -> Sequence[str]:
        """A slot held longer than the call needs it, and a wait without a bound."""
        found = []
        if any("repeats" in part.traits for part in inside):
            found.append(
                f"Bulkhead {self.name!r} stands outside a part that repeats: it holds the slot while"
                " that one waits between attempts"
            )
        waits_long = self.queue_max > 0 and self.max_wait_s is None
        if waits_long and not any("limits_time" in part.traits for part in outside):
            found.append(
                f"Bulkhead {self.name!r} lets calls queue without a bound on the wait: set max_wait_s,"
                " or put Timeout outside"
            )
        return found
