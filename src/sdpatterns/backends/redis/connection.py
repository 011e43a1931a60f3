"""One connection of one event loop; the commands of one turn travel together.

Built on a redis-py connection, on the few of its methods that are the same from release 5 on.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from sdpatterns.backends.redis.failures import NotSent, ReplyLost, is_refusal
from sdpatterns.backends.redis.protocol import Asking
from sdpatterns.backends.redis.replies import Replies
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
        self._pipe: Replies | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._late = False
        self._errors = 0

    def call(self, command: bytes, _key: bytes = b"", /) -> Coroutine[Any, Any, Any]:
        """The reply to one packed command."""
        return self._commands.run(command)

    async def call_all(self, commands: Sequence[tuple[bytes, bytes]], /) -> list[Any]:
        """The replies to several packed commands, sent together."""
        return await asyncio.gather(*(self.call(command) for command, _ in commands))

    async def _flush(self, commands: Sequence[bytes]) -> Sequence[Any]:
        pipe = self._pipe
        # Looked at before anything is sent: a step on a connection that broke while idle is then in no doubt.
        if pipe is None or pipe.is_broken:
            pipe = await self._reopen()
        if len(commands) == 1:
            packed = commands[0]
            asking = int(packed.__class__ is Asking)
        else:
            packed = b"".join(commands)
            asking = sum([command.__class__ is Asking for command in commands])
        whole = pipe.expect(len(commands) + asking)
        pipe.transport.write(packed)
        if self._watch is None:
            self._watch = self._loop.call_later(self._server.timeout_s, self._look)
        # Most commands are small and the transport sends them at once: then there is nothing to wait for.
        if len(packed) > _DRAIN_BYTES:
            with contextlib.suppress(OSError):  # `cause` says it, too
                await pipe.drain()
        await whole
        replies, cause = pipe.taken(), pipe.cause
        if asking:
            replies = _last_of_each(commands, replies)
        for place, reply in enumerate(replies):
            # A server that is loading its data did nothing. It alone answers with an error of this class.
            if isinstance(reply, RedisConnectionError):
                if not is_refusal(reply):
                    cause = reply
                    del replies[place:]
                    break
                replies[place] = NotSent(reply)
        if cause is not None:
            # The commands whose replies came have happened. Only the others are in doubt.
            replies += await self._broken(cause, len(commands) - len(replies))
        return replies

    async def _broken(self, cause: Exception, count: int) -> list[ReplyLost]:
        self._errors += 1
        # The timer cut the connection, so its own cause does not say why.
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

    async def _reopen(self) -> Replies:
        await self._drop()
        self._late = False
        try:
            self._pipe = Replies(await connect(self._server, self._node))
        except NotSent:
            self._errors += 1
            raise
        return self._pipe

    def _look(self) -> None:
        # One lazy timer instead of one for each call, which would cost as much as the call.
        self._watch = None
        pipe = self._pipe
        if pipe is None or not pipe.owed:
            return
        left = pipe.since_s + self._server.timeout_s - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        else:
            self._late = True
            abort(pipe.connection)

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


def _last_of_each(commands: Sequence[bytes], replies: Sequence[Any]) -> list[Any]:
    """The reply to each command, after ASKING the second of two. As many as came."""
    ends = itertools.accumulate(2 if command.__class__ is Asking else 1 for command in commands)
    return [replies[end - 1] for end in ends if end <= len(replies)]
