"""The permits of one pattern in its store: taking them, waiting for them, giving them back."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from sdpatterns.coordination.lease.config import LeaseConfig
from sdpatterns.coordination.lease.decision import Ask, Leave, Left, RenewLease, Turn, TurnStatus
from sdpatterns.coordination.lease.held import Held
from sdpatterns.coordination.lease.line import Line, LineCodec
from sdpatterns.coordination.lease.notices import LeaseLeft, LeaseRefused, LeaseReleased, LeaseTaken
from sdpatterns.coordination.lease.waiting import Cohort, Granted, Waiters, Waiting, next_cohort
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.heartbeat import Heartbeat
from sdpatterns.core.keys import join_key, short_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.runtime import current
from sdpatterns.errors import BackendError, BackendUnavailable, LeaseLost, LeaseNotGranted, SdpatternsError
from sdpatterns.ports.signals import SignalBus, Subscription
from sdpatterns.ports.states import Cells, DirectCells, Space, StateStore

__all__ = ["Permits", "Refusal"]

_ASKS_MAX = 3
_RELEASE_MAX_S = 5.0
_LOOK_S = 1.0
_ANSWER_MAX_S = 0.05
_PAUSE_MIN_S = 0.001
_SUCCESSORS_MAX = 64


class Refusal(NamedTuple):
    """Why a caller got nothing, and when it makes sense to ask again."""

    why: str
    retry_after_s: float


class Permits:
    """The permits of one pattern: `slots` for each key, held with a lease, given first come, first served.

    `space` names the cells, `callers` makes an id for each attempt, `announces` wakes the topic of a key when its
    holders change. `in_cohorts`: callers of this object that stand one behind the other hold under one lease. That is
    for permits which one caller holds alone, and where it does not matter who that is.
    """

    def __init__(
        self,
        space: str,
        name: str,
        store: StateStore,
        signals: SignalBus,
        config: LeaseConfig,
        *,
        slots: int,
        keys_max: int,
        callers: Callable[[], str],
        announces: bool = False,
        in_cohorts: bool = False,
    ) -> None:
        self.name = name
        self.config = config
        self.slots = slots
        self._signals = signals
        self._callers = callers
        self._announces = announces
        self._space: Space[Line] = Space(join_key(space, name), LineCodec(), keys_max=keys_max, overflow="refuse")
        self.cells: Cells[Line] = store.cells(self._space)
        self._waits = not isinstance(self.cells, DirectCells)
        self._skew_us = store.clock.by_us
        self._lease_us = int(config.lease_s * 1_000_000) + self._skew_us
        # A waiter that has died is passed over after as long a time as a holder that has died.
        self._alive_us = self._lease_us
        self._waiters = Waiters()
        self._successors_max = _SUCCESSORS_MAX if in_cohorts and self._waits else 0
        self._cohort = next_cohort(callers) if self._successors_max else ""

    def topic(self, cell: str) -> str:
        """What is announced when the holders of a key change; empty where none is told."""
        return join_key(self._space.name, cell) if self._announces else ""

    def caller(self) -> str:
        """An id for one attempt."""
        return self._callers() + self._cohort

    async def take(self, key: str, permits: int = 1, who: str = "") -> Held | Refusal:
        """Take them if they are free. Never waits for others."""
        cell, who = short_key(key), who or self.caller()
        turn = await self._asked(cell, who, permits, waits=False)
        if isinstance(turn, Granted):
            return self._held(key, cell, who, turn, 0.0)
        return self._refused(key, "held", turn.left_us / 1e6)

    async def wait(self, key: str, max_wait_s: float, permits: int = 1, who: str = "") -> Held | Refusal:
        """Take them as soon as it is this caller's turn."""
        left_s = deadline_left_s()
        wait_s = max_wait_s if left_s is None else min(max_wait_s, left_s)
        if wait_s <= 0:
            return await self.take(key, permits, who)
        cell, begin_s = short_key(key), SYSTEM.monotonic()
        waiting = self._waiters.enter(who or self.caller())
        try:
            # Where others of this process wait the inbox is heard already; else an uncontended lease costs no inbox.
            turn = None if self._waiters.are_in_line else await self._asked(cell, waiting.who, permits, waits=True)
            if turn is None or (isinstance(turn, Turn) and turn.status is TurnStatus.WAITING):
                turn = await self._in_line(cell, waiting, permits, begin_s + wait_s)
        except BaseException as error:
            self._waiters.leave(waiting)
            # Where its only step failed it has nothing. A cancellation may have come when the step was made.
            if waiting.is_in_line or waiting.granted is not None or not isinstance(error, Exception):
                await self._shielded(self._giving_up(cell, waiting))
            raise
        self._waiters.leave(waiting)
        if isinstance(turn, Granted):
            given = waiting.granted
            if given is not None and given.cohort.who not in {waiting.who, turn.cohort.who}:
                await self._given_twice(cell, waiting.who, given.cohort)
            return self._held(key, cell, waiting.who, turn, SYSTEM.monotonic() - begin_s)
        if turn.status is TurnStatus.WAITING or waiting.granted is not None:
            await self._surely(self._giving_up(cell, waiting))
        return self._refused(key, "full" if turn.status is TurnStatus.FULL else "waited", turn.left_us / 1e6)

    async def _given_twice(self, cell: str, who: str, neighbours: Cohort) -> None:
        """A neighbour let it follow, and meanwhile the store had given it a lease of its own."""
        try:
            await self._shielded(self._ending(cell, neighbours))
        except BaseException:
            await self._shielded(lambda: self._leave(cell, who))
            raise

    async def renew(self, held: Held) -> bool:
        """Move the end of its lease on; False where another caller holds it."""
        if held.is_released:
            return False
        sent_s = SYSTEM.monotonic()
        is_held = await self._renewed(held.cell, held.cohort)
        # One that is refused is over at once, so that no other caller follows under it.
        held.heartbeat.until_s = sent_s + self.config.lease_s if is_held else sent_s
        return is_held

    async def release(self, held: Held) -> bool:
        """Give it back. Never raises but a cancellation: at worst the key is free when the lease is over."""
        if held.is_released:
            return False
        held.is_released = True
        held.heartbeat.end()
        try:
            was_held = await self._surely(self._giving_back(held))
        except (SdpatternsError, TimeoutError) as error:
            if LISTENERS:
                tell(LeaseLeft(name=self.name, key=held.key, fence=held.fence, error=str(error)))
            return False
        if was_held and LISTENERS:
            tell(LeaseReleased(name=self.name, key=held.key, fence=held.fence))
        return was_held

    def refusal(self, key: str, refused: Refusal) -> LeaseNotGranted:
        """The exception for it."""
        return LeaseNotGranted(self.name, key, retry_after_s=refused.retry_after_s)

    def _held(self, key: str, cell: str, who: str, granted: Granted, waited_s: float) -> Held:
        fence = granted.fence

        def lost(why: str) -> LeaseLost:
            """Tell of it, once."""
            if LISTENERS:
                tell(LeaseLeft(name=self.name, key=key, fence=fence, error=why))
            return LeaseLost(self.name, key, why)

        heartbeat = Heartbeat(
            self.config.lease_s, granted.until_s, lambda: self._renewed(cell, granted.cohort), lost
        )  # fmt: skip
        if LISTENERS:
            tell(LeaseTaken(name=self.name, key=key, fence=fence, waited_s=waited_s))
        return Held(self.name, key, cell, who, fence, heartbeat, granted.cohort)

    def _refused(self, key: str, why: str, retry_after_s: float) -> Refusal:
        if LISTENERS:
            tell(LeaseRefused(name=self.name, key=key, why=why))
        return Refusal(why, retry_after_s)

    async def _renewed(self, cell: str, cohort: Cohort) -> bool:
        renew = RenewLease(cohort.who, cohort.fence, self._lease_us, served=cohort.served)
        return await self.cells.transact(cell, renew)

    async def _asked(self, cell: str, who: str, permits: int, *, waits: bool) -> Granted | Turn:
        """What the store says. One that gives up leaves nothing behind."""
        ask = Ask(
            who, self._lease_us, permits=permits, slots=self.slots, alive_us=self._alive_us if waits else 0,
            waiters_max=self.config.waiters_max, announce=self.topic(cell),
        )  # fmt: skip
        try:
            for _ in range(_ASKS_MAX):
                # The lease counts from before the request was sent: the store may have begun it at any time since.
                sent_s = SYSTEM.monotonic()
                turn = await self.cells.transact(cell, ask)
                if turn.status is not TurnStatus.HELD:
                    return turn
                until_s = sent_s + (turn.left_us - self._skew_us) / 1e6
                # An answer that took longer than the lease gives nothing: another caller may have it.
                if until_s > SYSTEM.monotonic():
                    return Granted(turn.fence, until_s, Cohort(who, turn.fence))
        except Exception:
            # The store said what became of it. Below is what ends the caller itself, such as a cancellation.
            raise
        except BaseException:
            if not waits:
                await self._shielded(lambda: self._leave(cell, who))
            raise
        raise BackendUnavailable(f"the store took longer to answer than the lease of {self.name!r} lasts")

    async def _in_line(self, cell: str, waiting: Waiting, permits: int, until_s: float) -> Granted | Turn:
        """What becomes of one that waits."""
        self._waiters.stand(waiting)
        subscription = await self._subscribed(waiting)
        try:
            return await self._woken(subscription, waiting, cell, permits, until_s)
        finally:
            if subscription is not None:
                await subscription.__aexit__(None, None, None)

    async def _subscribed(self, waiting: Waiting) -> Subscription | None:
        try:
            subscription = self._signals.subscribe(f"inbox/{waiting.who}")
            await subscription.__aenter__()
        except BackendError:
            # A signal is only a hint: without it the caller looks again after a while.
            return None
        # Not every bus can do it. Then a neighbour that lets it follow sends a signal.
        waiting.end_wait = getattr(subscription, "wake", None)
        return subscription

    async def _woken(
        self, subscription: Subscription | None, waiting: Waiting, cell: str, permits: int, until_s: float
    ) -> Granted | Turn:
        """Ask, wait to be woken, and ask again after a while, because a signal may be lost."""
        while True:
            turn = await self._asked(cell, waiting.who, permits, waits=True)
            # What the store says counts more than what a neighbour gave, because it is newer.
            if isinstance(turn, Granted):
                return turn
            left_s = until_s - SYSTEM.monotonic()
            if waiting.granted is None and turn.status is TurnStatus.WAITING and left_s > 0:
                await self._told(subscription, waiting, cell, max(min(left_s, turn.left_us / 1e6), _PAUSE_MIN_S))
            granted = waiting.granted
            if granted is not None and granted.until_s > SYSTEM.monotonic():
                return granted
            if granted is not None:
                waiting.granted = None
            if turn.status is not TurnStatus.WAITING or left_s <= 0:
                return turn

    async def _told(self, subscription: Subscription | None, waiting: Waiting, cell: str, pause_s: float) -> None:
        """Wait until it may have its turn, or has to show that it is alive."""
        assert waiting.told is not None
        if subscription is None:
            await waiting.told.wait(min(pause_s, _LOOK_S))
        elif await subscription.wait(pause_s) and waiting.granted is None and self._waiters.is_leaving(cell):
            # The one that woke it is a neighbour, whose answer comes in a moment and saves the question.
            await waiting.told.wait(_ANSWER_MAX_S)

    def _giving_back(self, held: Held) -> Callable[[], Awaitable[bool]]:
        """Let the next of its cohort follow. What is left to be done may be done twice."""
        # The next one goes on with what is left of the lease, and its first renewal must still be ahead.
        if not held.is_lost and held.left_s >= self.config.lease_s * 2 / 3:
            heir = self._waiters.follow(held.cohort, held.fence, held.heartbeat.until_s)
            if heir is not None:
                return lambda: self._followed(heir)
        return self._ending(held.cell, held.cohort)

    def _giving_up(self, cell: str, waiting: Waiting) -> Callable[[], Awaitable[bool]]:
        """Its turn may have come at the last moment: then the next one follows. Else it leaves its place."""
        granted = waiting.granted
        if granted is None or granted.cohort.who == waiting.who:
            return lambda: self._leave(cell, waiting.who)
        heir = self._waiters.follow(granted.cohort, granted.fence, granted.until_s)
        given = self._ending(cell, granted.cohort) if heir is None else lambda: self._followed(heir)

        async def both() -> bool:
            """A look of its own may be on its way, and so it may have something of its own too."""
            await given()
            return await self._leave(cell, waiting.who)

        return both

    def _ending(self, cell: str, cohort: Cohort) -> Callable[[], Awaitable[bool]]:
        """Give its lease back."""
        return lambda: self._leave(cell, cohort.who, cohort.served)

    async def _followed(self, heir: Waiting) -> bool:
        """It holds from now on, and works first: what its predecessor does next would delay it."""
        if heir.needs_signal:
            with contextlib.suppress(BackendError):
                await self._signals.notify(f"inbox/{heir.who}")
        await current().sleep(0)
        return True

    async def _surely(self, leave: Callable[[], Awaitable[bool]]) -> bool:
        """Give back what is held, or the place in the line. A cancellation does not come between."""
        try:
            return await leave()
        except Exception:
            raise
        except BaseException:
            # Cancelled on the way: the same step once more, behind a shield, because it may not have been made.
            if self._waits:
                await self._shielded(leave)
            raise

    async def _shielded(self, leave: Callable[[], Awaitable[bool]]) -> None:
        with contextlib.suppress(SdpatternsError, TimeoutError):
            await current().shield(leave, at_most_s=_RELEASE_MAX_S)

    async def _leave(self, cell: str, who: str, served: Sequence[str] = ()) -> bool:
        leave = Leave(
            who, slots=self.slots, announce=self.topic(cell),
            successors_max=self._successors_max, served=served,
        )  # fmt: skip
        sent_s = SYSTEM.monotonic()
        left = Left(was_held=False)
        self._waiters.begin_leaving(cell)
        try:
            left = await self.cells.transact(cell, leave)
        finally:
            is_told = self._waiters.end_leaving(cell, sent_s - self._skew_us / 1e6, left)
        if is_told and self._waits:
            # The new holder first, as above.
            await current().sleep(0)
        return left.was_held
