"""Who leads: a look, and a watch that is woken when it changes."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import unquote

from sdpatterns.coordination.lease.line import Line
from sdpatterns.core.runtime import current
from sdpatterns.core.step import Repeats, Step, unchanged
from sdpatterns.errors import BackendError
from sdpatterns.ports.signals import SignalBus, Subscription
from sdpatterns.ports.states import Cells

__all__ = ["Leader", "LeaderWatch", "LookForLeader"]

_PAUSE_MIN_S = 0.001
_LOOK_S = 1.0


class Leader(NamedTuple):
    """The candidate that leads, and the number of its term."""

    candidate: str
    term: int


class LookForLeader:
    """Who leads, by the store's time. Answers the leader (or None) and the seconds that its lease still has."""

    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __call__(self, states: Sequence[Line | None], now_us: int, /) -> Step[Line, tuple[Leader | None, float]]:
        """Reads only: one that was not renewed in time does not lead."""
        for who, _, fence, until_us in (states[0] or Line()).holders:
            if until_us > now_us:
                return unchanged((Leader(unquote(who.partition("@")[2]), fence), (until_us - now_us) / 1e6))
        return unchanged((None, 0.0))


class LeaderWatch:
    """Gives the leader, and then each change: `async with election.watch() as changes: async for leader in changes`.

    **Keeps**: what it gives was so at some moment since the one before; changes that follow each other quickly may be
    given as one. **May fail** with `BackendUnavailable`, where the store is away when it looks.
    **Costs** one step for each change and for each `lease_s` without one.
    """

    def __init__(self, cells: Cells[Line], signals: SignalBus, topic: str, lease_s: float) -> None:
        self._cells = cells
        self._signals = signals
        self._topic = topic
        self._lease_s = lease_s
        self._subscription: Subscription | None = None
        self._last: Any = self

    async def __aenter__(self) -> Self:
        try:
            subscription = self._signals.subscribe(self._topic)
            await subscription.__aenter__()
        except BackendError:
            # A signal is only a hint: without it the watch looks again after a while.
            return self
        self._subscription = subscription
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Leader | None:
        while True:
            leader, left_s = await self._cells.transact("", LookForLeader())
            # Compared with the last one given: a signal may be sent twice, or for a change that is over.
            if leader != self._last:
                self._last = leader
                return leader
            # A leader that dies announces nothing: so it looks when the lease would be over.
            pause_s = max(left_s if leader is not None else self._lease_s, _PAUSE_MIN_S)
            if self._subscription is None:
                # Without signals a new leader shows only in a look, so look often.
                await current().sleep(min(pause_s, _LOOK_S))
            else:
                await self._subscription.wait(pause_s)
