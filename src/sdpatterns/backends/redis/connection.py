"""One connection of one event loop; the commands of one turn travel together.

Built on a redis-py connection, on the few of its methods that are the same from release 5 on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from sdpatterns.backends.redis.failures import NotSent, ReplyLost, is_refusal
from sdpatterns.backends.redis.protocol import Asking
from sdpatterns.backends.redis.server import Node, Server
from sdpatterns.ports.engine.batcher import TaskBatcher
from sdpatterns.ports.engine.lines import behind
from sdpatterns.ports.pressure import Pressure

__all__ = ["PipelinedConnection", "abort", "connect", "drop"]

_COMMANDS_MAX = 512
_DRAIN_BYTES = 65_536


async def connect(server: Server, node: Node | None) -> Any:
    """A connection that has finished its handshake. Raises `NotSent`."""
    connection = server.connection(node)
    try:
        async with asyncio.timeout(server.timeout_s):
            await connection.connect()
    except TimeoutError:
        await drop(connection)
        raise NotSent(TimeoutError(f"no answer to a connection within {server.timeout_s:g} s")) from None
    except (RedisError, OSError) as cause:
        await drop(connection)
        raise NotSent(cause) from None
    except BaseException:
        # A handshake cut short would leave the connection a reply ahead of us.
        await drop(connection)
        raise
    return connection


class OpenConnection:
    """The two ends of an open connection and its parser.

    Taken out of the connection, because redis-py's own send and read look after timeouts, health
    and retries, which are ours here, and that costs as much as the rest of a call.
    """

    __slots__ = ("connection", "read", "reader", "writer")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.reader: asyncio.StreamReader = connection._reader  # noqa: SLF001
        self.writer: asyncio.StreamWriter = connection._writer  # noqa: SLF001
        self.read: Callable[[], Awaitable[Any]] = connection._parser.read_response  # noqa: SLF001

    @property
    def is_broken(self) -> bool:
        """Whether it is known to be broken, so that nothing is sent that cannot arrive."""
        reader = self.reader
        return reader.at_eof() or reader.exception() is not None or self.writer.transport.is_closing()

    async def send(self, packed: bytes) -> None:
        """Hand bytes to the transport."""
        self.writer.write(packed)
        # Most commands are small and the transport sends them at once: then there is nothing to wait for.
        if len(packed) > _DRAIN_BYTES:
            await self.writer.drain()


def abort(connection: Any) -> None:
    """Cut the connection at once: reads from it and writes to it fail."""
    writer: asyncio.StreamWriter | None = connection._writer  # noqa: SLF001 - closing politely would wait for the peer
    if writer is not None:
        writer.transport.abort()


async def drop(connection: Any) -> None:
    """Close a connection in any state. Never suspends."""
    abort(connection)
    await connection.disconnect(nowait=True)


class PipelinedConnection:
    """Sends packed commands and gives their replies, in order.

    Keeps: a reply goes to the command it answers, even if callers were cancelled; a call ends
    within `timeout_s` of being sent. May fail with `NotSent` or `ReplyLost`; an error reply is
    raised as redis-py's `ResponseError`.
    """

    def __init__(self, server: Server, node: Node | None = None) -> None:
        self._server = server
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._commands: TaskBatcher[bytes, Any] = TaskBatcher(self._flush, at_most=_COMMANDS_MAX, behind=behind)
        self._pipe: OpenConnection | None = None
        self._owed = 0
        self._since = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._late = False
        self._errors = 0

    async def call(self, command: bytes, _key: bytes = b"", /) -> Any:
        """The reply to one packed command."""
        reply = await self._commands.run(command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def call_all(self, commands: Sequence[tuple[bytes, bytes]], /) -> list[Any]:
        """The replies to several packed commands, sent together."""
        return await asyncio.gather(*(self.call(command) for command, _ in commands))

    async def _flush(self, commands: Sequence[bytes]) -> Sequence[Any]:
        pipe = self._pipe
        # Looked at before anything is sent: a step on a connection that broke while idle is then in no doubt.
        if pipe is None or pipe.is_broken:
            pipe = await self._reopen()
        self._since = self._loop.time()
        if self._watch is None:
            self._watch = self._loop.call_later(self._server.timeout_s, self._look)
        replies: list[Any] = []
        # A caller that was cancelled left its replies on the way. They come first and belong to no command of this one.
        owed_before = self._owed
        self._owed += len(commands) + sum([command.__class__ is Asking for command in commands])
        try:
            await pipe.send(commands[0] if len(commands) == 1 else b"".join(commands))
            for _ in range(owed_before):
                await self._reply(pipe)
            for command in commands:
                if command.__class__ is Asking:
                    await self._reply(pipe)
                replies.append(await self._reply(pipe))
        except (RedisError, OSError) as cause:
            # The commands whose replies came have happened. Only the others are in doubt.
            replies += await self._broken(cause, len(commands) - len(replies))
        return replies

    async def _reply(self, pipe: OpenConnection) -> Any:
        try:
            reply = await pipe.read()
        except RedisError as error:
            # A server that is loading or is a replica raises other classes than an error reply; it did nothing.
            if not is_refusal(error):
                raise
            reply = NotSent(error)
        self._owed -= 1
        return reply

    async def _broken(self, cause: Exception, count: int) -> list[ReplyLost]:
        self._errors += 1
        # The timer cut the connection, so the error that a read of it raises does not say why.
        if self._late:
            cause = TimeoutError(f"no reply within {self._server.timeout_s:g} s")
            away = NotSent(cause)
            self._commands.send_away(lambda _: away)
        await self._drop()
        return [ReplyLost(cause) for _ in range(count)]

    async def _drop(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            await drop(pipe.connection)

    async def _reopen(self) -> OpenConnection:
        await self._drop()
        self._late = False
        self._owed = 0
        try:
            self._pipe = OpenConnection(await connect(self._server, self._node))
        except NotSent:
            self._errors += 1
            raise
        return self._pipe

    def _look(self) -> None:
        # One lazy timer instead of one for each call, which would cost as much as the call.
        self._watch = None
        if self._owed == 0 and self._commands.idle:
            return
        left = self._since + self._server.timeout_s - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        elif self._pipe is not None:
            self._late = True
            abort(self._pipe.connection)

    def pressure(self) -> Pressure:
        """Whether its one connection is at work, and how many commands wait for it."""
        return Pressure(0 if self._commands.idle else 1, 1, self._commands.waiting, self._errors)

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            await pipe.connection.disconnect()
