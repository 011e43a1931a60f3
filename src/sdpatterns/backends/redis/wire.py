"""What stands between a store and its sockets, in either of two forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from sdpatterns.backends.redis.failures import NotSent
from sdpatterns.backends.redis.lane import Work
from sdpatterns.ports.pressure import Pressure

__all__ = ["Line", "MakeLane", "Wire"]


class Wire(Protocol):
    """The way to the server, or to the right one of a cluster."""

    async def call(self, command: bytes, key: bytes, /) -> Any:
        """The reply to a packed command about `key`; raises `Lost` or redis-py's `ResponseError`."""
        ...

    async def call_all(self, commands: Sequence[tuple[bytes, bytes]], /) -> list[Any]:
        """The replies to several packed commands, each with its key."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...

    def pressure(self) -> Pressure:
        """How busy its connections are."""
        ...


class Line(Protocol):
    """One piece of work in flight, the rest gather: a `Lane` or a `ThreadLane`."""

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nobody waits."""
        ...

    @property
    def waiting(self) -> int:
        """How many wait behind what is in flight."""
        ...

    async def run(self, item: Any, /) -> Any:
        """The result of the work for this item."""
        ...

    def send_away(self, away: NotSent, /) -> None:
        """Fail all who wait."""
        ...


MakeLane: TypeAlias = Callable[[Work[Any, Any]], Line]
