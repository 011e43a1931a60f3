"""A server that sends the bytes it is told to, and keeps, breaks off or delays them."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

_DRIPS_S = 0.02
FINE = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"
_LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
_PACKED = gzip.compress(b"hello" * 100)

TROUBLE: dict[str, tuple[bytes, str]] = {
    "/drips": (_LONG, "drips"),
    "/hangs": (_LONG + b"some", "hangs"),
    "/breaks-off": (_LONG + b"some", "closes"),
    "/breaks-off-in-chunks": (_CHUNKED, "closes"),
    "/last-chunk-never-ends": (_CHUNKED + b"0\r\n", "hangs"),
    "/headers-drip": (b"HTTP/1.1 200 OK\r\nx: ", "drips"),
    "/not-gzip": (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello", "goes on"),
    "/redirect-breaks-off": (b"HTTP/1.1 302 Found\r\nlocation: /fine\r\ncontent-length: 9\r\n\r\nsome", "closes"),
}
"""What goes wrong at an address, the first `times` times."""


class Wire:
    """Answers with trouble first, and then well."""

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.asked: list[str] = []
        self.url = ""
        self.may_end = asyncio.Event()
        self.upgraded_ended = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answered(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on after this answer."""
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
        self.asked.append(path)
        if path == "/upgrade":
            return await self._echoed(reader, writer)
        if path in {"/gate", "/events", "/packed", "/large"}:
            return await self._streamed(path, writer)
        if path not in TROUBLE or self.asked.count(path) > self.times:
            writer.write(FINE)
            return True
        sent, then = TROUBLE[path]
        writer.write(sent)
        await writer.drain()
        while then in {"drips", "hangs"}:
            await asyncio.sleep(_DRIPS_S)
            if then == "drips":
                writer.write(b"y")
            if writer.is_closing():
                break
            await writer.drain()
        return then == "goes on"

    async def _echoed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        while said := await reader.read(100):
            writer.write(said)
        self.upgraded_ended.set()
        return False

    async def _streamed(self, path: str, writer: asyncio.StreamWriter) -> bool:
        if path == "/packed":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(_PACKED))
            writer.write(_PACKED)
            return True
        kind = b"text/event-stream" if path == "/events" else b"text/plain"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n" % kind)
        await writer.drain()
        if path != "/large":
            await self.may_end.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        return True


@asynccontextmanager
async def wired(wire: Wire) -> AsyncIterator[str]:
    """The server on a free port of the loopback; gives its URL."""
    connections: list[tuple[asyncio.Task[None], asyncio.StreamWriter]] = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append((asyncio.ensure_future(wire(reader, writer)), writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        # They hang on purpose. Aborted, because one that was cancelled before it began has closed nothing.
        for task, _ in connections:
            task.cancel()
        await asyncio.gather(*(task for task, _ in connections), return_exceptions=True)
        for _, writer in connections:
            writer.transport.abort()
        await asyncio.sleep(0)


@contextmanager
def wired_in_a_thread(wire: Wire) -> Iterator[str]:
    """The same for clients that block."""
    ready, urls = threading.Event(), []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def run() -> None:
        async with wired(wire) as url:
            urls.append(url)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert ready.wait(60.0)
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
