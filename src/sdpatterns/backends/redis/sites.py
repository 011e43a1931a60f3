"""What one event loop (or, without loops, one process) holds: connections, lines, a listener."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias

from sdpatterns.backends.redis.lane import Lane
from sdpatterns.backends.redis.link import Link
from sdpatterns.backends.redis.target import Target

__all__ = ["Site", "Sites", "Wire"]

Settle: TypeAlias = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]

_WISHES_MAX = 256


class Wire(Protocol):
    """The way to the server (or to the right one of a cluster)."""

    async def call(self, command: bytes, key: bytes, /) -> Any:
        """The reply to a packed command about `key`."""
        ...

    async def call_all(self, commands: Sequence[tuple[bytes, bytes]], /) -> list[Any]:
        """The replies to several packed commands, each with its key."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Site(Protocol):
    """What stands here."""

    wire: Wire

    async def in_line(
        self, line: Any, wish: Any, settle: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]], /
    ) -> Any:
        """What `settle` makes of the wish, alone or together with others in the same line."""
        ...

    async def close(self) -> None:
        """Close everything."""
        ...


class LoopSite:
    """The site of one event loop."""

    def __init__(self, target: Target) -> None:
        self.wire: Wire = Link(target)
        self._lines: dict[Any, Lane[Any, Any]] = {}
        self._end = _until_the_loop_ends(self.wire.close)
        # Run to its first yield, so that the loop knows it and ends it before it closes.
        with contextlib.suppress(StopIteration):
            self._end.__anext__().send(None)

    async def in_line(self, line: Any, wish: Any, settle: Settle) -> Any:
        lane = self._lines.get(line)
        if lane is None:
            lane = self._lines[line] = Lane(settle, at_most=_WISHES_MAX)
        try:
            return await lane.run(wish)
        finally:
            if lane.idle and self._lines.get(line) is lane:
                del self._lines[line]

    async def close(self) -> None:
        await self._end.aclose()


async def _until_the_loop_ends(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close()


class Sites:
    """Finds the site that belongs here, and makes it at first use."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.shift_us = "0"
        self._lock = threading.Lock()
        self._sites: dict[Any, LoopSite] = {}
        _EVERY.add(self)

    def here(self) -> LoopSite:
        """The site of the running loop."""
        loop = asyncio.get_running_loop()
        return self._sites.get(loop) or self._open(loop)

    def _open(self, loop: asyncio.AbstractEventLoop) -> LoopSite:
        site = LoopSite(self.target)
        with self._lock:
            for other in [other for other in self._sites if other.is_closed()]:
                del self._sites[other]
            self._sites[loop] = site
        return site

    async def close(self) -> None:
        """Close what belongs to the running loop."""
        site = self._sites.pop(asyncio.get_running_loop(), None)
        if site is not None:
            await site.close()

    def forget(self) -> None:
        """Begin anew in a forked child: what is open belongs to the parent and is left alone."""
        self._lock = threading.Lock()
        _PARENTS.append(self._sites)
        self._sites = {}


_EVERY: weakref.WeakSet[Sites] = weakref.WeakSet()
_PARENTS: list[Any] = []  # kept, because a connection that is collected closes what the parent uses


def _forget_all() -> None:
    for sites in list(_EVERY):
        sites.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
