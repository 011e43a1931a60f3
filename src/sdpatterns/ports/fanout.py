"""Signals between the tasks and threads of one process.

The memory backend is nothing else; the others use it to hand what one connection receives to many waiters.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from sdpatterns.core.forks import drop_in_child, new_lock
from sdpatterns.core.runtime import Runtime, Waiter, current

__all__ = ["LocalSignals", "LocalSubscription"]


class LocalSubscription:
    """See `Subscription`."""

    __slots__ = ("_bus", "_topics", "_waiter")

    def __init__(self, bus: LocalSignals, topics: tuple[str, ...]) -> None:
        self._bus = bus
        self._topics = topics
        self._waiter: Waiter | None = None

    async def __aenter__(self) -> Self:
        self._waiter = current().waiter()
        self._bus.add(self._topics, self._waiter)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._waiter is not None:
            self._bus.remove(self._topics, self._waiter)
            self._waiter = None

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Park until one of the topics was notified since the last wait (True), or time is up (False)."""
        if self._waiter is None:
            raise RuntimeError("enter the subscription with 'async with' before waiting on it")
        return await self._waiter.wait(timeout_s)

    def wake(self) -> None:
        """End the wait as a notification would; any thread of this process may."""
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()


class LocalSignals:
    """See `SignalBus`."""

    runtime: Runtime | None = None

    def __init__(self) -> None:
        self._lock = new_lock()
        self._waiters: dict[str, list[Waiter]] = {}
        drop_in_child(self)

    def after_fork_in_child(self) -> None:
        """Start without waiters: those here wait in the parent, and a lock inside one may be taken for good."""
        self._waiters = {}

    async def notify(self, *topics: str) -> None:
        self.wake(topics)

    @property
    def has_subscribers(self) -> bool:
        """Whether there is any."""
        return bool(self._waiters)

    def wake(self, topics: Iterable[str]) -> None:
        """Wake the waiters of these topics; any thread may."""
        if not self._waiters:
            return
        with self._lock:
            woken = [waiter for topic in topics for waiter in self._waiters.get(topic, ())]
        for waiter in woken:
            waiter.wake()

    def wake_all(self) -> None:
        """Wake every waiter: notifications may have been missed."""
        with self._lock:
            topics = list(self._waiters)
        self.wake(topics)

    def subscribe(self, *topics: str) -> LocalSubscription:
        return LocalSubscription(self, topics)

    def add(self, topics: tuple[str, ...], waiter: Waiter) -> None:
        """Wake `waiter` from now on."""
        with self._lock:
            for topic in topics:
                self._waiters.setdefault(topic, []).append(waiter)

    def remove(self, topics: tuple[str, ...], waiter: Waiter) -> None:
        """Wake `waiter` no longer."""
        with self._lock:
            for topic in topics:
                waiters = self._waiters.get(topic, [])
                if waiter in waiters:
                    waiters.remove(waiter)
                if not waiters:
                    self._waiters.pop(topic, None)
