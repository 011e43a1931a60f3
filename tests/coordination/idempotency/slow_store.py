"""A memory store that waits as a remote one does, and that a test can take away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio.lowlevel

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.codec import Codec
from sdpatterns.core.runtime import ASYNCIO, Runtime
from sdpatterns.core.step import ManyTransition, Transition
from sdpatterns.ports.states import KEYS_MAX, Cells, Overflow

Hook = Callable[[str], Awaitable[None]]
"""Called with the name of a transition; raises or waits, before the step or after it."""


async def nothing(_step: str) -> None:
    await anyio.lowlevel.checkpoint()


class SlowStates:
    """Steps on `backend`, with a hook before and one after each."""

    runtime: Runtime | None = ASYNCIO

    def __init__(self, backend: MemoryBackend) -> None:
        self.inner = backend.states
        self.before: Hook = nothing
        self.after: Hook = nothing
        self.steps: list[str] = []

    def cells(
        self, space: str, codec: Codec[Any], /, *, group: str | None = None, keys_max: int = KEYS_MAX,
        overflow: Overflow = "share",
    ) -> SlowCells:  # fmt: skip
        return SlowCells(self, self.inner.cells(space, codec, group=group, keys_max=keys_max, overflow=overflow))


class SlowCells:
    def __init__(self, states: SlowStates, inner: Cells[Any]) -> None:
        self.states = states
        self.inner = inner

    async def transact(self, key: str, transition: Transition[Any, Any], /) -> Any:
        name = type(transition).__name__
        self.states.steps.append(name)
        await self.states.before(name)
        answer = await self.inner.transact(key, transition)
        await self.states.after(name)
        return answer

    async def transact_many(self, keys: Sequence[str], transition: ManyTransition[Any, Any], /) -> Any:
        return await self.inner.transact_many(keys, transition)

    async def read(self, key: str, /) -> Any:
        return await self.inner.read(key)

    async def read_many(self, keys: Sequence[str], /) -> list[Any]:
        return await self.inner.read_many(keys)

    async def delete(self, key: str, /) -> None:
        await self.inner.delete(key)
