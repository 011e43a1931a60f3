"""Permits for one key, and the line of those that wait for them, as transitions on one cell.

```
ask                    granted, or a place at the end of the line, or busy
release                those at the head of the line get what became free, and are woken
                                       line
holders [a][b]    <----- [c][d][e] <----- new callers
```

A lease has one permit. A semaphore has several. A read-write lease has a great many, of which a reader takes one
and a writer takes all. In all of them the head of the line is served first: who comes later never passes it.

Each step names its caller, an id made for one attempt, so that running it twice changes nothing more than
running it once.

Source: Burrows, "The Chubby lock service" (2006), for leases and sequencers; Kleppmann, "How to do distributed
locking" (2016), for the fence.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from enum import StrEnum
from typing import ClassVar, NamedTuple

from sdpatterns.coordination.lease.line import Holder, Line, LinePlace, cohort_of
from sdpatterns.coordination.lease.script import LineScript
from sdpatterns.core.fence import next_fence
from sdpatterns.core.step import GONE, Repeats, Step, unchanged

__all__ = ["Ask", "Grant", "Leave", "Left", "RenewLease", "Turn", "TurnStatus"]

_MICRO = 1_000_000
_KEPT_US = 1_000_000
_LOOKS = 3
"""How often a waiter shows in its time that it is alive."""


class TurnStatus(StrEnum):
    """What became of one who asked."""

    HELD = "h"
    WAITING = "w"
    BUSY = "b"
    FULL = "f"


class Turn(NamedTuple):
    """The answer to one who asks. `left_us`: of the lease; for one that waits, until it should ask again."""

    status: TurnStatus
    fence: int
    left_us: int


class Grant(NamedTuple):
    """What a step gave to one that waited."""

    who: str
    fence: int
    lease_us: int


class Left(NamedTuple):
    """The answer to one who leaves: whether it held permits, and who got them.

    `successors`: callers of the new holder's cohort that stand right behind it. The numbers that follow its fence are
    kept for them, one for each.
    """

    was_held: bool
    granted: tuple[Grant, ...] = ()
    successors: tuple[str, ...] = ()


class _Serving:
    """A line while a step changes it."""

    __slots__ = ("fence", "granted", "holders", "queue", "until_us")

    def __init__(self, line: Line, now_us: int) -> None:
        self.fence = line.fence
        # Leases that have ended are dropped here, so each step frees what a dead holder had; no sweep is needed.
        self.holders = [holder for holder in line.holders if holder.until_us > now_us]
        self.queue = list(line.queue)
        self.granted: list[Grant] = []
        self.until_us = line.until_us

    def fits(self, permits: int, slots: int) -> bool:
        """Whether so many are free. One alone always fits, so that a smaller number of slots blocks no line."""
        return not self.holders or permits + sum([holder.permits for holder in self.holders]) <= slots

    def grant(self, who: str, permits: int, lease_us: int, now_us: int) -> Turn:
        """Let it hold the permits from now on."""
        self.fence = next_fence(self.fence, now_us)
        self.holders.append(Holder(who, permits, self.fence, self.lasts(now_us + lease_us)))
        return Turn(TurnStatus.HELD, self.fence, lease_us)

    def lasts(self, until_us: int) -> int:
        """A lease or a place ends then."""
        self.until_us = max(self.until_us, until_us)
        return until_us

    def serve(self, slots: int, now_us: int) -> None:
        """Give what is free to the head of the line, as long as it fits; the dead are passed over there."""
        while self.queue:
            first = self.queue[0]
            if first.alive_us > now_us:
                # A large request at the head blocks smaller ones behind it. If they could pass, it might wait without
                # end.
                if not self.fits(first.permits, slots):
                    return
                self.grant(first.who, first.permits, first.lease_us, now_us)
                self.granted.append(Grant(first.who, self.fence, first.lease_us))
            del self.queue[0]

    def successors(self, most: int, now_us: int) -> tuple[str, ...]:
        """Those of the new holder's cohort that stand right behind it; a fence is kept for each."""
        [(who, fence, _)] = self.granted
        found: list[str] = []
        for place in self.queue[:most]:
            # One of another cohort came before those behind it, and must not be passed. One that is dead does not come.
            if place.alive_us <= now_us or cohort_of(place.who) != cohort_of(who):
                break
            found.append(place.who)
        self.fence = max(self.fence, fence + len(found))
        return tuple(found)

    def kept(self) -> int:
        """How many fences are kept for those that follow the one holder."""
        return self.fence - self.holders[0].fence if self.holders else 0

    def line(self) -> Line:
        """The state that is left."""
        until_us = self.until_us if self.holders or self.queue else 0
        return Line(self.fence, tuple(self.holders), tuple(self.queue), until_us)


def _without(queue: tuple[LinePlace, ...], gone: Container[str]) -> tuple[LinePlace, ...]:
    return tuple([place for place in queue if place.who not in gone])


def _kept_us(line: Line, now_us: int) -> int:
    """Until all leases and places are over, and the clock is past the fence, so that no later one is smaller."""
    return max(line.fence, now_us, line.until_us) - now_us + _KEPT_US


def _topics(serving: _Serving, me: str, announce: str, *, changed: bool) -> tuple[str, ...]:
    # The caller itself learns it from the answer, so a message to its own inbox would be one too many.
    woken = [f"inbox/{grant.who}" for grant in serving.granted if grant.who != me]
    return (*woken, announce) if announce and changed else tuple(woken)


class Ask:
    """Ask for permits, for the first time or again. Answers a `Turn`.

    `slots`: how many permits there are. `alive_us`: take a place in the line where nothing is free, or show that its
    owner is alive for so long; 0 takes none. `waiters_max`: how long the line may be. `announce`: a topic to wake
    when the holders change.
    """

    __slots__ = ("alive_us", "announce", "lease_us", "permits", "slots", "waiters_max", "who")
    repeats: ClassVar[Repeats] = "harmless"

    def __init__(
        self,
        who: str,
        lease_us: int,
        *,
        permits: int = 1,
        slots: int = 1,
        alive_us: int = 0,
        waiters_max: int = 1000,
        announce: str = "",
    ) -> None:
        self.who = who
        self.lease_us = lease_us
        self.permits = permits
        self.slots = slots
        self.alive_us = alive_us
        self.waiters_max = waiters_max
        self.announce = announce

    @property
    def script(self) -> LineScript[Turn]:
        numbers = (self.lease_us, self.permits, self.slots, self.alive_us, self.waiters_max)
        return LineScript(["ask", self.who, *map(str, numbers), self.announce], _turn)

    def __call__(self, states: Sequence[Line | None], now_us: int, /) -> Step[Line, Turn]:
        """Serve those before it, then it."""
        before = states[0] or Line()
        for holder in before.holders:
            if holder.who == self.who and holder.until_us > now_us:
                # The reply to an earlier attempt was lost: the same fence again, so that it holds once.
                return unchanged(Turn(TurnStatus.HELD, holder.fence, holder.until_us - now_us))
        serving = _Serving(before, now_us)
        stands = self._stand(serving, now_us)
        serving.serve(self.slots, now_us)
        turn = self._turn(serving, now_us, stands=stands)
        after = serving.line()
        if after == before:
            return unchanged(turn)
        changed = bool(serving.granted) or turn.status is TurnStatus.HELD
        topics = _topics(serving, self.who, self.announce, changed=changed)
        return (after,), turn, (_kept_us(after, now_us) / _MICRO,), topics

    def _stand(self, serving: _Serving, now_us: int) -> bool:
        """Whether it has a place already. One that only asks leaves it as it is."""
        for index, place in enumerate(serving.queue):
            if place.who == self.who:
                if self.alive_us:
                    serving.queue[index] = place._replace(alive_us=serving.lasts(now_us + self.alive_us))
                return True
        return False

    def _turn(self, serving: _Serving, now_us: int, *, stands: bool) -> Turn:
        for grant in serving.granted:
            if grant.who == self.who:
                return Turn(TurnStatus.HELD, grant.fence, grant.lease_us)
        # One that stands in the line came before and was not served; it may also have been passed over as dead.
        stands = stands and any(place.who == self.who for place in serving.queue)
        if not stands:
            if not serving.queue and serving.fits(self.permits, self.slots):
                return serving.grant(self.who, self.permits, self.lease_us, now_us)
            if not self.alive_us:
                return Turn(TurnStatus.BUSY, serving.fence, self._until_free_us(serving, now_us))
            # Those that follow under the lease that is held stand in the line until it is renewed or given back.
            most = self.waiters_max + (serving.kept() if self.slots == 1 else 0)
            if len(serving.queue) >= most:
                # The dead are passed over only at the head, so those further back may fill the line. Drop them before
                # refusing.
                serving.queue = [place for place in serving.queue if place.alive_us > now_us]
            if len(serving.queue) >= most:
                return Turn(TurnStatus.FULL, serving.fence, self._until_free_us(serving, now_us))
            alive_us = serving.lasts(now_us + self.alive_us)
            serving.queue.append(LinePlace(self.who, self.permits, alive_us, self.lease_us))
        sleep_us = max(self.alive_us // _LOOKS, 1)
        # Only the first in the line looks when a lease ends: the others would all ask at the same time.
        if serving.queue[0].who == self.who:
            sleep_us = min(sleep_us, self._until_free_us(serving, now_us))
        return Turn(TurnStatus.WAITING, serving.fence, sleep_us)

    def _until_free_us(self, serving: _Serving, now_us: int) -> int:
        return min([holder.until_us for holder in serving.holders]) - now_us


class RenewLease:
    """Move the end of the lease on. Answers whether it still stands.

    `served`: callers of its cohort that have held under it since. Their places in the line go.
    """

    __slots__ = ("fence", "lease_us", "served", "who")
    repeats: ClassVar[Repeats] = "harmless"

    def __init__(self, who: str, fence: int, lease_us: int, *, served: Sequence[str] = ()) -> None:
        self.who = who
        self.fence = fence
        self.lease_us = lease_us
        self.served = served

    @property
    def script(self) -> LineScript[bool]:
        return LineScript(["renew", self.who, str(self.fence), str(self.lease_us), *self.served], _is_true)

    def __call__(self, states: Sequence[Line | None], now_us: int, /) -> Step[Line, bool]:
        """Refused once its permits went to another caller."""
        before = states[0] or Line()
        line = before._replace(queue=_without(before.queue, self.served)) if self.served else before
        for index, holder in enumerate(line.holders):
            if holder.who == self.who and holder.fence == self.fence:
                # Never earlier than before, because a renewal that was slow on its way must not shorten the lease.
                moved = holder._replace(until_us=max(holder.until_us, now_us + self.lease_us))
                holders = (*line.holders[:index], moved, *line.holders[index + 1 :])
                after = line._replace(holders=holders, until_us=max(line.until_us, moved.until_us))
                return (after,), True, (_kept_us(after, now_us) / _MICRO,), ()
        if line == before:
            return unchanged(answer=False)
        return (line,), False, (_kept_us(line, now_us) / _MICRO,), ()


class Leave:
    """Give back permits, or the place in the line, and serve those that wait. Answers a `Left`.

    `served`: callers of its cohort that have held under its lease. Their places in the line go. `successors_max`: how
    many fences to keep for those of the caller's own cohort that follow the new holder.
    """

    __slots__ = ("announce", "served", "slots", "successors_max", "who")
    repeats: ClassVar[Repeats] = "harmless"

    def __init__(
        self, who: str, *, slots: int = 1, announce: str = "", successors_max: int = 0, served: Sequence[str] = ()
    ) -> None:
        self.who = who
        self.slots = slots
        self.announce = announce
        self.successors_max = successors_max
        self.served = served

    @property
    def script(self) -> LineScript[Left]:
        numbers = (self.slots, self.successors_max)
        return LineScript(["leave", self.who, *map(str, numbers), self.announce, *self.served], _left)

    def __call__(self, states: Sequence[Line | None], now_us: int, /) -> Step[Line, Left]:
        """Only what is its own: a caller that is not in the cell changes nothing."""
        before = states[0] or Line()
        holders = tuple([holder for holder in before.holders if holder.who != self.who])
        queue = _without(before.queue, (self.who, *self.served))
        was_held = len(holders) < len(before.holders)
        if not was_held and len(queue) == len(before.queue):
            return unchanged(Left(was_held=False))
        serving = _Serving(before._replace(holders=holders, queue=queue), now_us)
        serving.serve(self.slots, now_us)
        successors = (
            serving.successors(self.successors_max, now_us) if self._is_followed_by_its_own(serving.granted) else ()
        )
        after = serving.line()
        left = Left(was_held, tuple(serving.granted), successors)
        topics = _topics(serving, self.who, self.announce, changed=was_held or bool(serving.granted))
        # The next fence is at least the clock of the store, so a line with a smaller one can be dropped.
        if not (after.holders or after.queue) and after.fence < now_us:
            return (GONE,), left, (0.0,), topics
        return (after,), left, (_kept_us(after, now_us) / _MICRO,), topics

    def _is_followed_by_its_own(self, granted: Sequence[Grant]) -> bool:
        # Only the caller gets the answer, so that a cohort elsewhere would not hear of its successors.
        cohort = cohort_of(self.who)
        return self.successors_max > 0 and cohort != "" and [cohort_of(grant.who) for grant in granted] == [cohort]


_STATUSES = {status.value.encode(): status for status in TurnStatus}
_LEFT_ALONE = Left(was_held=True)


def _turn(reply: Sequence[bytes]) -> Turn:
    status, fence, left_us = reply
    return Turn(_STATUSES[status], int(fence), int(left_us))


def _left(reply: Sequence[bytes]) -> Left:
    if reply == [b"1", b""]:
        return _LEFT_ALONE
    grants = [reply[place : place + 3] for place in range(2, len(reply), 3)]
    return Left(
        reply[0] == b"1",
        tuple([Grant(who.decode(), int(fence), int(lease_us)) for who, fence, lease_us in grants]),
        tuple(reply[1].decode().split(";")[1:]),
    )


def _is_true(reply: Sequence[bytes]) -> bool:
    return reply[0] == b"1"
