"""Read, change and write a value that others change too, without holding a lock."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeAlias, TypeVar, cast

from sdpatterns.coordination.optimistic.decision import RECORDS, CompareAndSet, Versioned
from sdpatterns.core.codec import Codec
from sdpatterns.core.judging import callable_of, plain
from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.ranges import number, whole
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.undivided import Undivided
from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.errors import VersionConflict
from sdpatterns.ports.conflicts import until_it_is_written
from sdpatterns.ports.states import KEYS_MAX, Space, StateStore, check_store, rely_on

__all__ = ["Change", "OptimisticLock"]

T = TypeVar("T")

Change: TypeAlias = Callable[[T | None], T | Awaitable[T]]
"""A function, async or plain, from the value that was found (None where there is none) to the new one."""


def _random_writer() -> str:
    return os.urandom(12).hex()


class OptimisticLock(Undivided, Generic[T]):
    """Keeps values with a version; a write with a version that is not the newest one is refused.

    ```
    caller 1   read: 5, version 17 ----------> write 6 on 17: version 23
    caller 2   read: 5, version 17 ---------------------------> write 7 on 17: VersionConflict --> reads again
    ```

    **Keeps**: of all writes on one version, one is made. A version is never used twice for a key. So no update is lost,
    and no caller waits for one that has stopped. Where many write one key all the time, a `Lease` wastes less work.
    **May fail** with `VersionConflict`, `BackendUnavailable`, `OutcomeUnknown`, `BackendFull`; TypeError for a value
    that would not come back as it is.
    **Costs** one read and one step for an update, and as much again for each conflict. One cell for each key, for
    `keep_s` after its last write.

    ```python
    stock = OptimisticLock("stock", store=backend.states)
    left = await stock.update("shoes", lambda count: (count or 0) - 1)
    ```

    Source: Kung and Robinson, "On Optimistic Methods for Concurrency Control" (1981).
    """

    _elsewhere = "build it there, at import time, with the same store"

    def __init__(
        self,
        name: str,
        *,
        store: StateStore,
        keep_s: float = 10 * 366 * 86_400.0,
        codec: Codec[T] | None = None,
        attempts_max: int = 50,
        keys_max: int = KEYS_MAX,
        writers: Callable[[], str] = _random_writer,
    ) -> None:
        self.name = check_name("OptimisticLock", name)
        check_store(store)
        rely_on(store, f"OptimisticLock {name!r}")
        self._store = store
        self._keep_s = number("keep_s", keep_s, 1.0, 10 * 366 * 86_400.0)
        self._codec: Codec[T] = ValueCodec() if codec is None else codec
        self._attempts_max = whole("attempts_max", attempts_max, 1)
        self._writers = plain("writers", writers)
        space = Space(join_key("optimistic", name), RECORDS, keys_max=keys_max, overflow="refuse")
        self._cells = store.cells(space)

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the store needs."""
        return self._store.runtime

    async def read(self, key: str) -> Versioned[T]:
        """The value and its version; None and 0 where there is none."""
        found = await self._cells.read(key)
        return Versioned(None, 0) if found is None else Versioned(self._codec.decode(found.value), found.version)

    async def write(self, key: str, value: T, expected: int) -> int:
        """Write a value on the version that was read, 0 for a new one; its version. Raises `VersionConflict`."""
        # A name for this attempt: where the reply is lost, the repeated step finds its own write and is not a
        # conflict.
        step = CompareAndSet(self._writers(), expected, self._codec.encode(value), self._keep_s)
        version, is_mine = await self._cells.transact(key, step)
        if not is_mine:
            raise VersionConflict(self.name, key, expected, version)
        return version

    async def update(self, key: str, change: Change[T]) -> T:
        """Read, `change` and write, again after a conflict, with pauses that grow; what was written.

        `change` may be async and may run several times, so it should have no other effect. Raises `VersionConflict`
        after `attempts_max` attempts, and when the caller's deadline leaves no time for another one.
        """
        callable_of("change", change)

        async def changed() -> T:
            found = await self.read(key)
            value = cast("Any", change(found.value))
            if inspect.isawaitable(value):
                value = await value
            await self.write(key, value, found.version)
            return cast("T", value)

        return await until_it_is_written(changed, self._attempts_max)

    def __repr__(self) -> str:
        return f"<OptimisticLock {self.name!r}>"
