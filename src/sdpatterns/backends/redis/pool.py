"""Connections for programs without an event loop: a bounded number of them, for which threads wait.

The methods are coroutines that never suspend, so that one store serves both doors.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError, ResponseError

from sdpatterns.backends.redis.failures import Lost, NotSent, ReplyLost, is_refusal
from sdpatterns.backends.redis.protocol import Asking
from sdpatterns.backends.redis.server import Node, Server
from sdpatterns.core.context import deadline_left_s
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.pressure import Pressure, Usage

__all__ = ["Pool", "connect_blocking"]


def connect_blocking(server: Server, node: Node | None) -> Any:
    """A connection that has finished its handshake. Raises `NotSent`."""
    connection = server.connection(node)
    try:
        connection.connect()
    except (RedisError, OSError) as cause:
        connection.disconnect()
        raise NotSent(cause) from None
    return connection


def is_stale(connection: Any) -> bool:
    """Whether an idle connection has anything to say, which can only be its end."""
    try:
        return bool(connection.can_read())
    except (RedisError, OSError):
        return True


class Turns:
    """Lets a number of threads in at once. The others wait, and fail when the server did not answer in time.

    Else the threads that wait for a frozen server would each wait for as long as the first one.
    """

    def __init__(self, count: int) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._free = count
        self._why: BaseException | str = ""
        self._times_away = 0

    def take(self, queue: Usage) -> None:
        """Take a turn. Raises `NotSent` where those before found out that the server is away.

        A thread cannot be cancelled, so it raises `BackendUnavailable` when its caller's deadline comes.
        """
        with self._changed:
            if not self._free:
                with queue:
                    self._wait()
            self._free -= 1

    def _wait(self) -> None:
        seen = self._times_away
        while not self._free:
            # That the server is away is told first, because the caller can do something about that.
            in_time = self._changed.wait(deadline_left_s())
            if self._times_away != seen:
                raise NotSent(self._why)
            if not in_time and not self._free:
                raise BackendUnavailable("the deadline passed while the call waited for a connection; nothing was sent")

    def give_back(self, lost: Lost | None) -> None:
        """End a turn; `lost` says how, where it did not end well."""
        with self._changed:
            self._free += 1
            if lost is not None and lost.is_late:
                self._times_away += 1
                self._why = lost.cause
                self._changed.notify_all()
            else:
                self._changed.notify()


class Pool:
    """Sends packed commands, each on a connection of its own for as long as the reply takes.

    Keeps: at most `connections_max` connections; a thread that finds them all taken waits, it does
    not fail. May fail with `NotSent` or `ReplyLost`; an error reply is raised as redis-py's
    `ResponseError`.
    """

    def __init__(self, server: Server, node: Node | None = None) -> None:
        self._server = server
        self._node = node
        self._turns = Turns(server.connections_max)
        self._queue = Usage()
        self._usage = Usage()
        self._idle: deque[Any] = deque()
        self._closed = False

    async def call(self, command: bytes, _key: bytes = b"", /) -> Any:
        """The reply to one packed command."""
        self._turns.take(self._queue)
        lost: Lost | None = None
        try:
            with self._usage:
                reply = self._reply(command)
        except Lost as error:
            lost = error
            self._usage.fail()
            raise
        finally:
            self._turns.give_back(lost)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def call_all(self, commands: Sequence[tuple[bytes, bytes]], /) -> list[Any]:
        """The replies to several packed commands."""
        return [await self.call(command) for command, _ in commands]

    def _reply(self, command: bytes) -> Any:
        connection = self._taken()
        try:
            reply = self._asked(connection, command)
        except BaseException:
            # A reply may still be on its way to this connection, and the next command would get it.
            connection.disconnect()
            raise
        # Another thread may have closed the pool meanwhile.
        if self._closed:
            connection.disconnect()
        else:
            self._idle.append(connection)
        return reply

    def _taken(self) -> Any:
        while True:
            # The one that was used last, because an idle one is the likelier to be broken the older it is.
            try:
                connection = self._idle.pop()
            except IndexError:
                return connect_blocking(self._server, self._node)
            if not is_stale(connection):
                return connection
            connection.disconnect()

    def _asked(self, connection: Any, command: bytes) -> Any:
        try:
            connection.send_packed_command((command,), check_health=False)
            if command.__class__ is Asking:
                connection.read_response()
            return connection.read_response()
        except ResponseError as refused:
            # Returned, because it is a reply: the connection is in order and goes back to the pool.
            return refused
        except (RedisError, OSError) as cause:
            raise (NotSent if is_refusal(cause) else ReplyLost)(cause) from None

    def pressure(self) -> Pressure:
        """How many connections are in use, and how many threads wait for one."""
        return Pressure(self._usage.used, self._server.connections_max, self._queue.used, self._usage.errors)

    async def close(self) -> None:
        """Close what is idle now, and what is in use as soon as it is not."""
        self._closed = True
        while self._idle:
            self._idle.pop().disconnect()
