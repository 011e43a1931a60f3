"""SignalBus: a wake-up or a hint, never a fact.

A notification may be lost, doubled or late. So a waiter subscribes first, then reads the state, then
waits, and reads the state again after a while even when nothing woke it.

A topic may end in `#` and a fragment. Topics that are the same before the `#` travel together, so that a
process which gives each of its waiters a fragment of one inbox (`inbox/a1b2#7`) subscribes once for all
of them. A waiter is only woken for its own fragment.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from sdpatterns.core.runtime import Runtime

__all__ = ["SignalBus", "Subscription"]


class Subscription(Protocol):
    """Wakes its owner for its topics, from `__aenter__` on; a wake-up between two waits is kept."""

    async def __aenter__(self) -> Self:
        """Subscribe. When this returns, a later notification wakes."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the subscription."""
        ...

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Park until one of the topics was notified since the last wait (True), or time is up (False).

        Also True when notifications may have been missed, because the connection was away.
        """
        ...


class SignalBus(Protocol):
    """Wakes those that wait for a topic, in all processes that share the backend. Best effort."""

    runtime: Runtime | None

    async def notify(self, *topics: str) -> None:
        """Wake all that subscribe to one of the topics."""
        ...

    def subscribe(self, *topics: str) -> Subscription:
        """A subscription to these topics, to be entered with `async with`."""
        ...
