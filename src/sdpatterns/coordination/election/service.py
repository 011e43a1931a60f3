"""Work that only the leader does, as a service: campaign, lead, and campaign again when the term was lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sdpatterns.coordination.lease.held import Held, Holding
from sdpatterns.coordination.lease.permits import Permits, Refusal
from sdpatterns.core.judging import is_async, title_of
from sdpatterns.core.runtime import BLOCKING, Waiter, current, finish
from sdpatterns.core.service import Service
from sdpatterns.errors import BackendError, LeaseLost

__all__ = ["ALWAYS_S", "LeaderService", "Term", "leading_work"]

ALWAYS_S = 1e9
"""Longer than any process runs."""
_AWAY_S = 1.0


class _Stopping(Exception):
    """The service stops while it campaigns."""


class Term:
    """The time in which this process leads. `number` grows from term to term: it is the fence of its writes."""

    def __init__(self, held: Held, stop: Waiter) -> None:
        self._held = held
        self._stop = stop
        self._is_told = False

    @property
    def number(self) -> int:
        """The number of the term."""
        return self._held.fence

    @property
    def is_over(self) -> bool:
        """Whether the service stops, or the term was lost."""
        return self._is_told or self._held.is_lost

    async def wait(self, seconds: float, /) -> bool:
        """Pause between two rounds of work; True, at once, when the term is over."""
        if not self.is_over and await self._stop.wait(seconds):
            self._is_told = True
        return self.is_over


class _PlainTerm:
    """A term for a plain function in a program without an event loop: the same, and nothing to await."""

    __slots__ = ("_term",)

    def __init__(self, term: Term) -> None:
        self._term = term

    def __getattr__(self, name: str) -> Any:
        return getattr(self._term, name)

    def wait(self, seconds: float, /) -> bool:
        """See `Term.wait`."""
        return finish(self._term.wait(seconds))


def leading_work(work: Callable[[Term], Any]) -> Callable[[Term], Awaitable[None]]:
    """The function of the user's as one to await. A plain one is taken where there is no event loop."""
    if not callable(work):
        raise TypeError(f"the work of a leader is a function, got {work!r}")
    if is_async(work):
        return work

    async def plain(term: Term) -> None:
        """Call it in this thread."""
        if current() is not BLOCKING:
            raise TypeError(f"{title_of(work)} would stop the event loop while it leads: make it async")
        work(_PlainTerm(term))  # type: ignore[arg-type]

    return plain


class LeaderService(Service):
    """Runs `work(term)` in one process of the fleet at a time: `election.service(work)` makes it.

    **Keeps**: the work begins when this process leads, and is cancelled, where the runtime can interrupt it, when the
    term is lost; then this process campaigns again. A store that is away ends the term, and not the service. When the
    service stops `term.wait` says so, the work finishes within `drain_s`, and the next candidate leads at once.
    **May fail** with what the work raised. Work that returns ends the service.
    **Costs** what a `Lease` costs, for as long as it leads or waits.
    """

    def __init__(
        self,
        name: str,
        permits: Permits,
        holding: Callable[[Held], Holding],
        function: Callable[[Term], Awaitable[None]],
        drain_s: float,
    ) -> None:
        super().__init__(name, drain_s=drain_s)
        self._permits = permits
        self._holding = holding
        self._function = function

    async def work(self, stop: Waiter, /) -> None:
        """Campaign and lead until it stops."""
        while self.health.state == "running":
            try:
                held = await self._campaigned(stop)
                if held is not None:
                    async with self._holding(held):
                        await self._function(Term(held, stop))
                    return
            except LeaseLost:
                continue
            except BackendError:
                # The store is away. A pause, so that a service without a store does not use a whole core to campaign.
                await stop.wait(_AWAY_S)

    async def _campaigned(self, stop: Waiter) -> Held | None:
        if current() is BLOCKING:
            # A thread cannot be interrupted, so it stands for a while and looks whether it has to stop.
            taken = await self._permits.wait("", self._permits.config.lease_s / 3)
            return None if isinstance(taken, Refusal) else taken
        taken_here: list[Held] = []

        async def campaign() -> None:
            """Remember the lease, because the service may stop at the very moment in which it is given."""
            taken = await self._permits.wait("", ALWAYS_S)
            if isinstance(taken, Held):
                taken_here.append(taken)

        async def give_up(_: Waiter) -> None:
            """End the campaign when the service stops."""
            await stop.wait()
            raise _Stopping

        try:
            await current().beside(campaign, give_up)
        except _Stopping:
            # The term was given in the moment of the stop. Given back, the next candidate need not wait for its lease
            # to end.
            for held in taken_here:
                await self._permits.release(held)
            return None
        except BaseException:
            for held in taken_here:
                await self._permits.release(held)
            raise
        return taken_here[0] if taken_here else None
