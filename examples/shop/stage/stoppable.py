"""A part of a process that a fault stops, as SIGSTOP stops a whole one: nothing of it runs or leaves it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar

from sdpatterns.core.runtime import Runtime
from sdpatterns.ports.engine.steps import PendingStep
from sdpatterns.ports.states import Cells, Space, StateStore
from sdpatterns.ports.timekeeping import StoreClock
from shop.stage.faults import FaultInjector

S = TypeVar("S")
_LOOKS_S = 0.05
_BRIEFLY_S = 2.0


async def may_stop_briefly(injector: FaultInjector) -> None:
    """Wait while a fault stops holders of a lease, but not so long that the caller of this request gives up."""
    began_s = now_s = time.monotonic()
    if not injector.stops(now_s, since_s=0.0):
        return
    while injector.is_pausing(now_s) and now_s < began_s + _BRIEFLY_S:
        await asyncio.sleep(_LOOKS_S)
        now_s = time.monotonic()


class Stoppable:
    """What a candidate does at the store of its lease, and where it may be stopped.

    Keeps: while it is stopped no step of it reaches the store, so that its lease ends. It goes on where it was when
    the fault is over, as if no time had passed. The fault stops those that worked before it began, and none
    that takes their place.
    """

    def __init__(self, injector: FaultInjector) -> None:
        self._injector = injector
        self._goes = asyncio.Event()
        self._goes.set()

    async def may_stop(self, since_s: float) -> None:
        """Wait until the fault is over, if there is one and it hits; `since_s` is when this work began."""
        if not self._injector.stops(time.monotonic(), since_s):
            return
        self._goes.clear()
        try:
            while self._injector.is_pausing(time.monotonic()):  # noqa: ASYNC110 - a fault tells no one of its end
                await asyncio.sleep(_LOOKS_S)
        finally:
            self._goes.set()

    def states(self, inner: StateStore) -> StateStore:
        """A store that steps reach while this is not stopped."""
        return _StoppableStates(inner, self._goes)


class _StoppableStates:
    def __init__(self, inner: StateStore, goes: asyncio.Event) -> None:
        self._inner = inner
        self._goes = goes
        self.runtime: Runtime | None = inner.runtime
        self.clock: StoreClock = inner.clock

    def cells(self, space: Space[S], /) -> Cells[S]:
        cells = self._inner.cells(space)

        async def run(step: PendingStep) -> Any:
            await self._goes.wait()
            return await cells.run(step)

        return Cells(space, run)
