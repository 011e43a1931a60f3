"""A reader of a log that catches up and then stays live: written once, over `read_all` and a `SignalBus`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from sdpatterns.core import clock
from sdpatterns.core.ranges import number, whole
from sdpatterns.core.runtime import Runtime, current

if TYPE_CHECKING:
    from sdpatterns.ports.log import EventLog, LogPage, RecordedEvent
    from sdpatterns.ports.signals import SignalBus

__all__ = ["LIMIT", "LIMIT_MAX", "LogSubscription"]

LIMIT: Final = 500
"""The events of a page where its reader says nothing."""
LIMIT_MAX: Final = 10_000
"""Bound on the events of one page."""


class LogSubscription:
    """Events of a log behind a position, and then those that are appended, without end.

    ```python
    async with log.subscribe(after=position) as events:
        async for event in events:
            await show(event)
            position = event.position
    ```
    In a program without a loop: `for event in blocking(log).subscribe(position): ...`.

    It subscribes to the log's topic, then looks, then waits, so that no event is missed between two looks. A lost
    wake-up costs up to `sweep_s`. One task or thread uses it.

    **Keeps**: events come in the order of the log, and none is skipped. **May fail** as `read_all` does; subscribe
    again with the position of the last event. **Costs**: one read for each page of up to `limit` events, and one in
    `sweep_s` seconds when nothing happens; it holds one page.
    """

    position: int
    """Everything up to here was given."""

    def __init__(
        self, log: EventLog, signals: SignalBus, after: int = 0, *, limit: int = LIMIT, sweep_s: float = 1.0
    ) -> None:
        self.position = whole("after", after, 0)
        self._limit = whole("limit", limit, 1, LIMIT_MAX)
        self._sweep_s = number("sweep_s", sweep_s, 0.001, 3_600.0)
        self._log = log
        self._subscription = signals.subscribe(log.topic)
        self._events: deque[RecordedEvent] = deque()
        self._page: LogPage | None = None
        self._is_open = False

    @property
    def runtime(self) -> Runtime | None:
        """That of its log."""
        return self._log.runtime

    @property
    def page(self) -> LogPage | None:
        """The page that was read last, which says how far the log goes; None before the first one."""
        return self._page

    async def __aenter__(self) -> Self:
        await self._subscription.__aenter__()
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        await self._subscription.__aexit__(kind, error, trace)

    async def next_page(self, timeout_s: float | None = None) -> LogPage:
        """The next events together, at least one; without any where `timeout_s` passed first.

        A page may also have moved on without an event, because positions have gaps.
        """
        if not self._is_open:
            raise RuntimeError("enter the subscription first: async with log.subscribe(...) as events")
        if self._events:
            return self._rest()
        until = None if timeout_s is None else clock.SYSTEM.monotonic() + timeout_s
        while True:
            page = await self._look()
            left_s = self._sweep_s if until is None else min(self._sweep_s, until - clock.SYSTEM.monotonic())
            if page.events or page.is_more or left_s <= 0:
                return page
            await self._subscription.wait(left_s)

    async def _look(self) -> LogPage:
        if self._log.runtime is None:
            # Such a log never suspends, and other tasks want to run between two pages.
            await current().sleep(0)
        page = self._page = await self._log.read_all(self.position, self._limit)
        self.position = page.position
        return page

    def _rest(self) -> LogPage:
        """What of the last page was not given yet."""
        page = self._page
        assert page is not None
        events = tuple(self._events)
        self._events.clear()
        self.position = page.position
        return page._replace(events=events)

    def __aiter__(self) -> AsyncIterator[RecordedEvent]:
        """One event after another."""
        return self

    async def __anext__(self) -> RecordedEvent:
        """The next event, as soon as there is one."""
        while not self._events:
            page = await self.next_page()
            self._events.extend(page.events)
        event = self._events.popleft()
        self.position = event.position
        return event
