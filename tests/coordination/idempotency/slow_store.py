"""A memory store that waits as a remote one does, and that a test can take away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio.lowlevel

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.runtime import ASYNCIO, Runtime
from sdpatterns.ports.engine.steps import Drop, PendingStep
from sdpatterns.ports.states import Cells, Space

Hook = Callable[[str], Awaitable[None]]
"""Called with the name of a transition; raises or waits, before the step or after it."""


async def nothing(_step: str) -> None:
    await anyio.lowlevel.checkpoint()


class SlowStates:
    """Steps on `backend`, with a hook before and one after each."""

    runtime: Runtime | None = ASYNCIO

    def __init__(self, backend: MemoryBackend) -> None:
        self.inner = backend.states
        self.clock = backend.states.clock
        self.before: Hook = nothing
        self.after: Hook = nothing
        self.steps: list[str] = []

    def cells(self, space: Space[Any], /) -> Cells[Any]:
        inner = self.inner.cells(space)

        async def run(step: PendingStep) -> Any:
            if step.reads or isinstance(step.transition, Drop):
                return await inner.run(step)
            name = type(step.transition).__name__
            self.steps.append(name)
            await self.before(name)
            answer = await inner.run(step)
            await self.after(name)
            return answer

        return Cells(space, run)
