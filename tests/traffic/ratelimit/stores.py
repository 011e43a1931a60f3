"""A store between the limiter and memory that suspends, fails and refuses as it is told."""

from __future__ import annotations

from typing import Any

from sdpatterns.core.runtime import ASYNCIO, current
from sdpatterns.ports.engine.steps import Drop, PendingStep
from sdpatterns.ports.states import Cells, Space, StateStore


class Between:
    """Suspends at every step, before it and after it."""

    runtime = ASYNCIO

    def __init__(self, inner: StateStore) -> None:
        self.inner = inner
        self.clock = inner.clock
        self.fail: type[Exception] | None = None
        self.fail_after = 0
        self.pause_s = 0.0
        self.groups: list[str | None] = []
        self.is_cluster = False
        self.steps: list[str] = []

    def cells(self, space: Space[Any], /) -> Any:
        self.groups.append(space.group)
        return BetweenCells(self, space, self.inner.cells(space))


class BetweenCells(Cells[Any]):
    def __init__(self, store: Between, space: Space[Any], inner: Cells[Any]) -> None:
        super().__init__(space, inner.run)
        self.store = store

    async def run(self, step: PendingStep, /) -> Any:
        if step.reads:
            return await self._run(step)
        if len(step.keys) > 1 and self.store.is_cluster and self.space.group is None:
            raise TypeError("a cluster needs a group")
        await self._way("delete" if isinstance(step.transition, Drop) else type(step.transition).__name__)
        answer = await self._run(step)
        await current().sleep(self.store.pause_s)
        return answer

    async def _way(self, name: str) -> None:
        self.store.steps.append(name)
        await current().sleep(self.store.pause_s)
        if self.store.fail is not None:
            if self.store.fail_after == 0:
                raise self.store.fail("redis://store is away")
            self.store.fail_after -= 1
