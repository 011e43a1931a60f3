"""Connections that listen to channels of the server: one for an event loop, one for all threads of a process.

When to open one, what to ask it for and what to do when it breaks is the business of
`sdpatterns.ports.engine.listener`; here stands only how Redis does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sdpatterns.backends.redis.connection import connect, drop
from sdpatterns.backends.redis.failures import NotSent, is_refusal
from sdpatterns.backends.redis.pool import connect_blocking
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.replies import ReplyProtocol
from sdpatterns.backends.redis.server import Server
from sdpatterns.core.runtime import current
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.source import Hears, SocketWait, Source

__all__ = ["PUSHES", "RedisConnector", "publish"]

PUSHES = "push/"
"""What the topics begin with whose messages are no notifications."""
Pushes: TypeAlias = Mapping[str, Callable[[bytes], None]]
"""What takes the messages of such a topic, as they are."""


def publish(prefix: str, topic: str) -> bytes:
    """The command that notifies a topic: its channel, and as the message its fragment."""
    channel, mark, fragment = topic.partition("#")
    return pack("PUBLISH", prefix + channel, mark + fragment)


class RedisConnector:
    """See `Connector`."""

    def __init__(self, server: Server, pushes: Pushes) -> None:
        self._server = server
        self._pushes = pushes
        self.timeout_s = server.timeout_s

    def channel_of(self, topic: str, /) -> str:
        """What stands before the fragment."""
        return topic.partition("#")[0]

    async def open(self, listener: Hears, /) -> Source:
        """A connection of its own: one that is subscribed can send no commands."""
        if self._server.blocking:
            return ThreadSource(connect_blocking(self._server, None), self._server, listener, self._pushes)
        return LoopSource(await connect(self._server, None), self._server, listener, self._pushes)

    def failure(self, error: Exception, /) -> Exception:
        """The server is away, or refuses."""
        return BackendUnavailable(self._server.away(error))

    def is_refusal(self, error: Exception, /) -> bool:
        """Whether the server answered with an error of its own."""
        return is_refusal(error)


class _Source:
    """What both kinds share: the words of the protocol."""

    def __init__(self, connection: Any, server: Server, listener: Hears, pushes: Pushes) -> None:
        self._connection = connection
        self._server = server
        self._listener = listener
        self._pushes = pushes

    def ask(self, add: Sequence[str], drop: Sequence[str], /) -> Sequence[str]:
        """In one go. The server confirms each channel by a message."""
        prefix = self._server.channel
        verbs = [("SUBSCRIBE", add), ("UNSUBSCRIBE", drop)]
        self._send(b"".join(pack(verb, *(prefix + name for name in names)) for verb, names in verbs if names))
        return ()

    def _send(self, packed: bytes) -> None:
        raise NotImplementedError

    async def receive(self, within_s: float, /) -> bool:
        raise NotImplementedError

    async def prove(self) -> None:
        """PING: its answer is news like any other."""
        self._send(pack("PING"))
        if not await self.receive(self._server.timeout_s):
            raise NotSent("no sign of life")

    def _tell(self, said: Any) -> None:
        kind, channel = said[0], said[1].decode()[len(self._server.channel) :]
        if kind == b"message":
            if not channel.startswith(PUSHES):
                self._listener.heard(channel + said[2].decode(errors="replace"))
            elif channel in self._pushes:
                self._pushes[channel](said[2])
        elif kind == b"subscribe":
            self._listener.confirmed(channel)


class LoopSource(ReplyProtocol, _Source):
    """See `Source`. What comes is told by the loop itself, in no task."""

    def __init__(self, connection: Any, server: Server, listener: Hears, pushes: Pushes) -> None:
        _Source.__init__(self, connection, server, listener, pushes)
        self._wait = current().waiter()
        self._has_news = False
        self._is_proving = False
        ReplyProtocol.__init__(self, connection)

    def received(self, replies: list[Any], /) -> None:
        """See `ReplyProtocol`."""
        self._has_news = True
        for said in replies:
            if isinstance(said, Exception):
                self.end(said)
            else:
                self._tell(said)
        # Else the task sleeps on, because there is nothing left for it to do.
        if self._is_proving:
            self._wait.wake()

    def broke(self) -> None:
        """See `ReplyProtocol`."""
        self._wait.wake()

    def _send(self, packed: bytes) -> None:
        self.transport.write(packed)

    async def receive(self, within_s: float, /) -> bool:
        """Whether something came in that time. It was told at once."""
        if self.cause is None:
            await self._wait.wait(within_s)
        if self.cause is not None:
            raise self.cause
        has_news, self._has_news = self._has_news, False
        return has_news

    async def prove(self) -> None:
        """See `_Source`."""
        self._is_proving = True
        try:
            await super().prove()
        finally:
            self._is_proving = False

    def interrupt(self) -> None:
        """Nothing: what changes is asked for from the loop itself."""

    async def close(self) -> None:
        """Cut it."""
        await drop(self._connection)


class ThreadSource(_Source):
    """See `Source`: read and written to by one thread alone."""

    def __init__(self, connection: Any, server: Server, listener: Hears, pushes: Pushes) -> None:
        super().__init__(connection, server, listener, pushes)
        self._wait = SocketWait(connection._sock)  # noqa: SLF001 - redis-py waits for its socket alone

    def _send(self, packed: bytes) -> None:
        self._connection.send_packed_command((packed,), check_health=False)

    async def receive(self, within_s: float, /) -> bool:
        """All messages that are there, once one is."""
        # Asked first: what has been read already, or deciphered, no longer shows at the socket.
        if not self._connection.can_read(0) and not self._wait.wait(within_s):
            return False
        while self._connection.can_read(0):
            self._tell(self._connection.read_response())
        return True

    def interrupt(self) -> None:
        self._wait.interrupt()

    async def close(self) -> None:
        """Close the socket."""
        self._wait.close()
        self._connection.disconnect()
