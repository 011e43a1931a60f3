"""What a backend holds open: one set of resources for each event loop, or one for all threads.

Connections of asyncio belong to the loop in which they were made, and none survives a fork. A backend
is built at import, where there is neither, so it finds its resources at each use:

```
here() --> those of the running loop, made at first use
           loop ends      they are closed while it still runs, as a last act of `asyncio.run`
           loop closed    forgotten, because nothing can be awaited there any more
           fork           the child starts with none; the parent's sockets are left alone
```
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from sdpatterns.core.forks import drop_in_child, new_lock
from sdpatterns.core.runtime import finish

__all__ = ["LoopResources", "Resources"]

_LEFT_TO_THE_PARENT: list[object] = []
"""What a forked child inherited. Kept, because a connection that is collected may end what the parent uses."""


class LoopResources(Protocol):
    """What one loop, or all threads, hold open."""

    async def close(self) -> None:
        """Close it all."""


R = TypeVar("R", bound=LoopResources)


class Resources(ABC, Generic[R]):
    """Finds the resources that belong here, and makes them at first use. Any thread may ask."""

    ends_with_loop = True
    """Whether a loop that ends closes its resources. False where they are shared by all loops."""

    def __init__(self, shown: str, *, blocking: bool) -> None:
        self._shown = shown
        self._blocking = blocking
        self._lock = new_lock()
        self._by_loop: dict[asyncio.AbstractEventLoop | None, R] = {}
        self._ends: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}
        drop_in_child(self)

    @abstractmethod
    def _make(self, loop: asyncio.AbstractEventLoop | None, /) -> R:
        """Those for this loop, or for all threads. Opens nothing. Called under the lock."""

    def here(self) -> R:
        """Those of the running loop; those of all threads where the backend blocks."""
        # Documented for event loops; `get_running_loop` would raise.
        loop = None if self._blocking else asyncio._get_running_loop()  # noqa: SLF001
        # Without the lock: a dictionary of CPython may be read while another thread writes it.
        return self._by_loop.get(loop) or self._made(loop)

    def _running(self) -> asyncio.AbstractEventLoop:
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                f"{self._shown} needs an asyncio loop; elsewhere build the backend with blocking=True"
            ) from None

    def _made(self, loop: asyncio.AbstractEventLoop | None) -> R:
        if loop is None and not self._blocking:
            self._running()  # raises
        with self._lock:
            # Here, because no hook runs when a loop is closed without `asyncio.run`.
            for other in [other for other in self._by_loop if other is not None and other.is_closed()]:
                del self._by_loop[other]
                self._ends.pop(other, None)
            found = self._by_loop.get(loop)
            if found is None:
                found = self._by_loop[loop] = self._make(loop)
                if loop is not None and self.ends_with_loop:
                    end = self._ends[loop] = _until_the_loop_ends(found.close)
                    # Run to its first yield, so that the loop knows it and ends it before it closes.
                    finish(end.asend(None))
            return found

    def all_open(self) -> list[R]:
        """Those whose loop has not ended."""
        return [found for loop, found in tuple(self._by_loop.items()) if loop is None or not loop.is_closed()]

    async def close(self) -> None:
        """Close what belongs here. It may be used again: that makes new ones."""
        loop = None if self._blocking else self._running()
        with self._lock:
            found, end = self._by_loop.pop(loop, None), None if loop is None else self._ends.pop(loop, None)
        if end is not None:
            await end.aclose()
        elif found is not None:
            await found.close()

    def after_fork_in_child(self) -> None:
        """Start with none: see the module."""
        _LEFT_TO_THE_PARENT.append((self._by_loop, self._ends))
        self._by_loop, self._ends = {}, {}


async def _until_the_loop_ends(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close()
