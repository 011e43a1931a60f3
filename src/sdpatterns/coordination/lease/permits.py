"""The permits of one pattern in its store: taking them, waiting for them, giving them back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

from sdpatterns.coordination.lease.config import LeaseConfig
from sdpatterns.coordination.lease.decision import Ask, Leave, Left, Line, LineCodec, RenewLease, Turn, TurnStatus
from sdpatterns.coordination.lease.held import Held
from sdpatterns.coordination.lease.notices import LeaseLeft, LeaseRefused, LeaseReleased, LeaseTaken
from sdpatterns.coordination.lease.waiting import Granted, Waiters, Waiting
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


class Refusal(NamedTuple):
    """Why a caller got nothing, and when it makes sense to ask again."""

    why: str
    retry_after_s: float


class Permits:
    """The permits of one pattern: `slots` for each key, held with a lease, given first come, first served.

    `space` names the cells, `callers` makes an id for each attempt, `announces` wakes the topic of a key when its
    holders change.
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

    def topic(self, cell: str) -> str:
        """What is announced when the holders of a key change; empty where none is told."""
        return join_key(self._space.name, cell) if self._announces else ""

    async def take(self, key: str, permits: int = 1, who: str = "") -> Held | Refusal:
        """Take them if they are free. Never waits for others."""
        cell, who = short_key(key), who or self._callers()
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
        cell, who = short_key(key), who or self._callers()
        begin_s = SYSTEM.monotonic()
        # Where others of this process wait the inbox is heard already; else an uncontended lease costs no inbox.
        turn = None if self._waiters else await self._asked(cell, who, permits, waits=True)
        if turn is None or (isinstance(turn, Turn) and turn.status is TurnStatus.WAITING):
            turn = await self._in_line(cell, who, permits, begin_s + wait_s)
        if isinstance(turn, Granted):
            return self._held(key, cell, who, turn, SYSTEM.monotonic() - begin_s)
        return self._refused(key, "full" if turn.status is TurnStatus.FULL else "waited", turn.left_us / 1e6)

    async def renew(self, held: Held) -> bool:
        """Move the end of its lease on; False where another caller holds it."""
        sent_s = SYSTEM.monotonic()
        is_held = await self._renewed(held.cell, held.who, held.fence)
        if is_held:
            held.heartbeat.until_s = sent_s + self.config.lease_s
        return is_held

    async def release(self, held: Held) -> bool:
        """Give it back. Never raises but a cancellation: at worst the key is free when the lease is over."""
        if held.is_released:
            return False
        held.is_released = True
        held.heartbeat.end()
        try:
            was_held = await self._left(held.cell, held.who)
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
            self.config.lease_s, granted.until_s, lambda: self._renewed(cell, who, fence), lost
        )  # fmt: skip
        if LISTENERS:
            tell(LeaseTaken(name=self.name, key=key, fence=fence, waited_s=waited_s))
        return Held(self.name, key, cell, who, fence, heartbeat)

    def _refused(self, key: str, why: str, retry_after_s: float) -> Refusal:
        if LISTENERS:
            tell(LeaseRefused(name=self.name, key=key, why=why))
        return Refusal(why, retry_after_s)

    async def _renewed(self, cell: str, who: str, fence: int) -> bool:
        return await self.cells.transact(cell, RenewLease(who, fence, self._lease_us))

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
                    return Granted(turn.fence, until_s)
        except Exception:
            # The store said what became of it. Below is what ends the caller itself, such as a cancellation.
            raise
        except BaseException:
            with contextlib.suppress(SdpatternsError, TimeoutError):
                await self._shielded(cell, who)
            raise
        raise BackendUnavailable(f"the store took longer to answer than the lease of {self.name!r} lasts")

    async def _in_line(self, cell: str, who: str, permits: int, until_s: float) -> Granted | Turn:
        """Subscribe, ask, wait to be woken, and ask again after a while, because a signal may be lost."""
        waiting = self._waiters.enter(who)
        turn: Granted | Turn | None = None
        try:
            async with contextlib.AsyncExitStack() as stack:
                subscription = await self._subscribed(stack, who)
                # Not every bus can do it. Else the signal ends the wait, which the store sends with its answer.
                waiting.end_wait = getattr(subscription, "wake", None)
                turn = await self._woken(subscription, waiting, cell, permits, until_s)
            if isinstance(turn, Turn) and turn.status is TurnStatus.WAITING:
                await self._left(cell, who)
        except BaseException:
            with contextlib.suppress(SdpatternsError, TimeoutError):
                await self._shielded(cell, who)
            raise
        finally:
            self._waiters.leave(who)
        return turn

    async def _subscribed(self, stack: contextlib.AsyncExitStack, who: str) -> Subscription | None:
        try:
            return await stack.enter_async_context(self._signals.subscribe(f"inbox/{who}"))
        except BackendError:
            # A signal is only a hint: without it the caller looks again after a while.
            return None

    async def _woken(
        self, subscription: Subscription | None, waiting: Waiting, cell: str, permits: int, until_s: float
    ) -> Granted | Turn:
        while True:
            turn = await self._asked(cell, waiting.who, permits, waits=True)
            left_s = until_s - SYSTEM.monotonic()
            if isinstance(turn, Granted) or turn.status is not TurnStatus.WAITING or left_s <= 0:
                return turn
            pause_s = max(min(left_s, turn.left_us / 1e6), _PAUSE_MIN_S)
            if subscription is None:
                await waiting.told.wait(min(pause_s, _LOOK_S))
            elif await subscription.wait(pause_s) and waiting.granted is None and self._waiters.is_leaving(cell):
                # The one that woke it is a neighbour, whose answer comes in a moment and saves the question.
                await waiting.told.wait(_ANSWER_MAX_S)
            granted, waiting.granted = waiting.granted, None
            if granted is not None and granted.until_s > SYSTEM.monotonic():
                return granted

    async def _left(self, cell: str, who: str) -> bool:
        """Give back what is held, or the place in the line. A cancellation does not come between."""
        if not self._waits:
            return await self._leave(cell, who)
        try:
            return await self._leave(cell, who)
        except Exception:
            raise
        except BaseException:
            # Cancelled on the way: the same step once more, behind a shield, because it may not have been made.
            with contextlib.suppress(SdpatternsError, TimeoutError):
                await self._shielded(cell, who)
            raise

    async def _shielded(self, cell: str, who: str) -> bool:
        return await current().shield(lambda: self._leave(cell, who), at_most_s=_RELEASE_MAX_S)

    async def _leave(self, cell: str, who: str) -> bool:
        sent_s = SYSTEM.monotonic()
        left = Left(was_held=False)
        self._waiters.begin_leaving(cell)
        try:
            left = await self.cells.transact(cell, Leave(who, slots=self.slots, announce=self.topic(cell)))
        finally:
            is_told = self._waiters.end_leaving(cell, sent_s - self._skew_us / 1e6, left.granted)
        if is_told and self._waits:
            # The new holder first: what its predecessor does next would be time in which neither of them works.
            await current().sleep(0)
        return left.was_held
