"""What a backend brings so that `Listener` can listen: connections, and how to make them."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Iterable, Sequence
from typing import Protocol

__all__ = ["Connector", "Hears", "SocketWait", "Source"]


class Hears(Protocol):
    """Gets what a connection receives."""

    def heard(self, topic: str, /) -> None:
        """A notification came."""

    def confirmed(self, channel: str, /) -> None:
        """The server confirms a channel that it was asked for."""


class Source(Protocol):
    """One open connection that listens. It hands what it receives to its listener: see `Hears`."""

    def ask(self, add: Sequence[str], drop: Sequence[str], /) -> Iterable[str]:
        """Ask the server for channels, and to leave others. The channels that it need not confirm.

        Must not wait. A connection that turns out to be broken says so at the next `receive`.
        """
        ...

    async def receive(self, within_s: float, /) -> bool:
        """Wait for news and tell them; False where there were none in that time. Raises when it breaks."""
        ...

    async def prove(self) -> None:
        """Ask for a sign of life. Raises without one: a connection may be dead and not say so."""

    def interrupt(self) -> None:
        """End a `receive` in another thread soon."""

    async def close(self) -> None:
        """Close it, in any state, without waiting for the server."""


class Connector(Protocol):
    """Makes connections that listen, and knows what their failures mean."""

    timeout_s: float
    """How long a subscription may wait to be confirmed."""

    def channel_of(self, topic: str, /) -> str:
        """The channel in which a topic is heard; many topics may share one."""
        ...

    async def open(self, listener: Hears, /) -> Source:
        """A connection that can be asked for channels."""
        ...

    def failure(self, error: Exception, /) -> Exception:
        """What a subscriber gets for this failure."""
        ...

    def is_refusal(self, error: Exception, /) -> bool:
        """Whether the server is there and does not want to."""
        ...


class SocketWait:
    """Lets one thread wait for a socket, and others interrupt it. For any number of open files."""

    def __init__(self, file: object) -> None:
        self._mine, self._theirs = socket.socketpair()
        self._mine.settimeout(0)
        self._theirs.settimeout(0)
        self._selector = selectors.DefaultSelector()
        self._selector.register(file, selectors.EVENT_READ)  # type: ignore[arg-type]
        self._selector.register(self._mine, selectors.EVENT_READ)

    def wait(self, within_s: float) -> bool:
        """False where nothing happened in that time."""
        ready = self._selector.select(within_s)
        with contextlib.suppress(BlockingIOError):
            self._mine.recv(4096)
        return bool(ready)

    def interrupt(self) -> None:
        """End the wait, or the next one. Any thread may, also when it is closed."""
        with contextlib.suppress(OSError):
            self._theirs.send(b".")

    def close(self) -> None:
        """Free its files."""
        self._selector.close()
        self._mine.close()
        self._theirs.close()
