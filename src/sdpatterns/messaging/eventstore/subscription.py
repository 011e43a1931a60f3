"""The events of a store, one after another, and then those that are appended."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from sdpatterns.messaging.eventstore.events import StoredEvent
from sdpatterns.ports.log import RecordedEvent
from sdpatterns.ports.log_subscription import LogSubscription

__all__ = ["EventSubscription"]


class EventSubscription:
    """`async with store.subscribe(position) as events: async for stored in events: ...`, without end.

    **Keeps**: what `LogSubscription` keeps; and events have the newest version of their type.
    **May fail** as `read_all` does, and with `CodecError` for an event that cannot be read.
    """

    def __init__(
        self, inside: LogSubscription, read: Callable[[Sequence[RecordedEvent]], Awaitable[Sequence[StoredEvent]]]
    ) -> None:
        self._inside = inside
        self._read = read
        self._events: deque[StoredEvent] = deque()

    async def __aenter__(self) -> Self:
        await self._inside.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inside.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        """One event after another."""
        return self

    async def __anext__(self) -> StoredEvent:
        """The next event, as soon as there is one."""
        while not self._events:
            self._events.extend(await self._read([await self._inside.__anext__()]))
        return self._events.popleft()
