"""What comes over an open connection of an event loop, read by our own protocol instead of redis-py's stream.

```
transport --> ReplyProtocol --> Replies        to the commands of one caller at a time
                            --> LoopSource     messages to the channels that it listens to
```

redis-py makes the connection and greets the server. Its own way to read looks after timeouts, health and retries,
which are ours here, and costs as much as the rest of a call. A stream also gets each reply in a new buffer of 256 KiB,
which takes longer to allocate than to fill.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from hiredis import Reader
from redis.exceptions import InvalidResponse

from sdpatterns.core.runtime.inline_future import InlineFuture

__all__ = ["Replies", "ReplyProtocol"]

_BUFFER_BYTES = 65_536
_NOTHING = object()


def _closed() -> Exception:
    return ConnectionError("the server closed the connection")


class ReplyProtocol(asyncio.BufferedProtocol, ABC):
    """Takes the transport of a greeted connection over, and parses what comes.

    redis-py's protocol stays behind this one: it knows when the transport can take more, and when it is closed.
    """

    def __init__(self, connection: Any) -> None:
        reader, writer = connection._reader, connection._writer  # noqa: SLF001
        self.connection = connection
        self.transport: asyncio.Transport = writer.transport
        self.drain: Callable[[], Awaitable[None]] = writer.drain
        self.cause: Exception | None = _closed() if reader.at_eof() else reader.exception()
        """Why nothing will come any more; None while something may."""
        error_of = connection._parser.parse_error  # noqa: SLF001
        self._parser = Reader(protocolError=InvalidResponse, replyError=error_of, notEnoughData=_NOTHING)
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._before: Any = self.transport.get_protocol()
        self.transport.set_protocol(self)

    @property
    def is_broken(self) -> bool:
        """Whether it is known to be broken, so that nothing is sent that cannot arrive."""
        return self.cause is not None or self.transport.is_closing()

    @abstractmethod
    def received(self, replies: list[Any], /) -> None:
        """These came, in order, at least one."""

    @abstractmethod
    def broke(self) -> None:
        """There is a `cause` now. Called once at most."""

    def get_buffer(self, _: int, /) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return self._buffer

    def buffer_updated(self, count: int, /) -> None:
        """See `asyncio.BufferedProtocol`."""
        parser, replies, odd = self._parser, [], None
        parser.feed(self._buffer, 0, count)  # type: ignore[arg-type] # its hint leaves out other buffers
        try:
            while (reply := parser.gets()) is not _NOTHING:
                replies.append(reply)
        except InvalidResponse as error:
            odd = error
        if replies:
            self.received(replies)
        if odd is not None:
            self.end(odd)

    def eof_received(self) -> None:
        """The server closes the connection, and so does the transport then."""
        self.end(_closed())

    def connection_lost(self, error: Exception | None, /) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._before.connection_lost(error)
        self.end(error or _closed())

    def pause_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._before.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._before.resume_writing()

    def end(self, cause: Exception) -> None:
        """Nothing that comes from here on counts."""
        if self.cause is None:
            self.cause = cause
            self.transport.abort()
            self.broke()


class Replies(ReplyProtocol):
    """The replies to the commands of one caller at a time, which waits for all of them."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.found: list[Any] = []
        """Those that came so far."""
        self._loop = asyncio.get_running_loop()
        self.since_s = 0.0
        """Since when the reply that comes next is waited for."""
        self._wanted = 0
        self._skipped = 0
        self._whole: InlineFuture[None] | None = None

    @property
    def owed(self) -> int:
        """How many are on their way."""
        return self._skipped + self._wanted - len(self.found)

    def expect(self, count: int) -> InlineFuture[None]:
        """Done when `found` has the replies to so many commands, which are sent now, or when there is a `cause`."""
        # A caller that was cancelled left its replies on the way. They come first and belong to no command of this one.
        self._skipped = self.owed
        if not self._skipped:
            self.since_s = self._loop.time()
        self._wanted = count
        self.found = []
        whole: InlineFuture[None] = InlineFuture(loop=self._loop)
        self._whole = whole
        return whole

    def taken(self) -> list[Any]:
        """Those found, which are not kept here any longer."""
        found, self.found = self.found, []
        self._wanted -= len(found)
        return found

    def received(self, replies: list[Any], /) -> None:
        """See `ReplyProtocol`."""
        if self._skipped:
            late = min(self._skipped, len(replies))
            self._skipped -= late
            self.since_s = self._loop.time()
            del replies[:late]
        self.found += replies
        missing = self._wanted - len(self.found)
        if missing < 0:
            # Which reply belongs to which command is not known any more.
            self.found = []
            self.end(InvalidResponse("a reply to no command"))
        elif missing == 0 and not self._skipped:
            self._tell()

    def broke(self) -> None:
        """See `ReplyProtocol`."""
        self._tell()

    def _tell(self) -> None:
        # Last, because the caller goes on in it and may send its next command.
        whole, self._whole = self._whole, None
        if whole is not None:
            whole.finish(None)
