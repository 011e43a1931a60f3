"""A store between the limiter and memory that suspends, fails and refuses as it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdpatterns.core.runtime import ASYNCIO, current
from sdpatterns.ports.states import StateStore


class Between:
    """Suspends at every step, before it and after it."""

    runtime = ASYNCIO

    def __init__(self, inner: StateStore) -> None:
        self.inner = inner
        self.fail: type[Exception] | None = None
        self.fail_after = 0
        self.pause_s = 0.0
        self.groups: list[str | None] = []
        self.is_cluster = False
        self.steps: list[str] = []

    def cells(self, space: str, codec: Any, /, *, group: str | None = None, **bounds: Any) -> Any:
        self.groups.append(group)
        return BetweenCells(self, self.inner.cells(space, codec, group=group, **bounds), group)


class BetweenCells:
    def __init__(self, store: Between, inner: Any, group: str | None) -> None:
        self.store = store
        self.inner = inner
        self.group = group

    async def transact(self, key: str, transition: Any, /) -> Any:
        await self._way(type(transition).__name__)
        answer = await self.inner.transact(key, transition)
        await current().sleep(self.store.pause_s)
        return answer

    async def transact_many(self, keys: Sequence[str], transition: Any, /) -> Any:
        if self.store.is_cluster and self.group is None:
            raise TypeError("a cluster needs a group")
        await self._way(type(transition).__name__)
        return await self.inner.transact_many(keys, transition)

    async def read(self, key: str, /) -> Any:
        return await self.inner.read(key)

    async def read_many(self, keys: Sequence[str], /) -> Any:
        return await self.inner.read_many(keys)

    async def delete(self, key: str, /) -> None:
        await self._way("delete")
        await self.inner.delete(key)

    async def _way(self, name: str) -> None:
        self.store.steps.append(name)
        await current().sleep(self.store.pause_s)
        if self.store.fail is not None:
            if self.store.fail_after == 0:
                raise self.store.fail("redis://store is away")
            self.store.fail_after -= 1
