"""One connection of an event loop, opened by the first who needs it and given up after any failure."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["OpenLink", "Reopened"]


class OpenLink(Protocol):
    """An open connection."""

    @property
    def is_open(self) -> bool:
        """Whether it can still be used, as far as it knows."""
        ...

    async def close(self) -> None:
        """Close it in any state, without waiting for the server for long. Raises nothing."""


L = TypeVar("L", bound=OpenLink)


class Reopened(Generic[L]):
    """Finds the open connection. `open_` makes one, and raises what comes of it."""

    def __init__(self, open_: Callable[[], Coroutine[Any, Any, L]]) -> None:
        self._open = open_
        self._link: L | None = None
        self._opening: asyncio.Task[L] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.errors = 0
        """How often a connection was given up, or could not be had."""

    @property
    def now(self) -> L | None:
        """The one that is open, if there is one."""
        return self._link if self._link is not None and self._link.is_open else None

    async def get(self) -> L:
        """The one that is open, or a new one. Callers that wait may be cancelled, and the others are not harmed."""
        if self._link is not None and self._link.is_open:
            return self._link
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._keep(), context=contextvars.Context())
        return await asyncio.shield(self._opening)

    async def _keep(self) -> L:
        if self._link is not None:
            await self._link.close()
        self._link = await self._open()
        return self._link

    def give_up(self, link: L | None) -> None:
        """Close the one that has failed, beside what goes on; None where there was none to be had."""
        self.errors += 1
        if link is not None and link is self._link:
            self._link = None
            closing = asyncio.create_task(link.close(), context=contextvars.Context())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close it, and wait for those that are being closed. It may be used again."""
        opening, self._opening = self._opening, None
        if opening is not None and not opening.done():
            opening.cancel()
            await asyncio.wait({opening})
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        if self._closing:
            await asyncio.wait(self._closing)
