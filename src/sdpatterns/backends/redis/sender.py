"""What stands between a store and its sockets, in either of two forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from sdpatterns.ports.engine.batcher import Batcher, Work
from sdpatterns.ports.pressure import Pressure

__all__ = ["MakeBatcher", "Sender"]


class Sender(Protocol):
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


MakeBatcher: TypeAlias = Callable[[Work[Any, Any]], Batcher[Any, Any]]
