"""SignalBus: a wake-up or a hint, never a fact.

A signal may be lost, doubled or late. A waiter listens first, then reads the state, then waits, and
reads it again after a while even when it heard nothing.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from sdpatterns.core.runtime import Runtime

__all__ = ["Ear", "SignalBus"]


class Ear(Protocol):
    """Listens to its topics from `__aenter__` on; a signal between two waits is kept."""

    async def __aenter__(self) -> Self:
        """Start to listen. When this returns, a later announcement is heard."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to listen."""
        ...

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Park until a topic was announced since the last wait (True), or time is up (False).

        Also True when announcements may have been missed (the connection was away).
        """
        ...


class SignalBus(Protocol):
    """Announcements between all that share the backend. Best effort."""

    runtime: Runtime | None

    async def announce(self, *topics: str) -> None:
        """Wake all that listen to one of the topics."""
        ...

    def listen(self, *topics: str) -> Ear:
        """An ear for these topics, to be entered with `async with`."""
        ...
