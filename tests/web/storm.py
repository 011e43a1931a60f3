"""Thousands of requests, each cancelled at a random point, and then what became of the connections."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import sniffio
import trustme
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener

from sdpatterns import Timeout
from sdpatterns.core.keys import KeyOf
from sdpatterns.core.policy import AsyncCall, Policy

CONNECTIONS_MAX = 8
AT_ONCE = 24
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"
# It ends a test that hangs. After a storm a server first sees off the handshakes that were left, for ten seconds on
# a busy machine.
_SETTLES_S = 120.0
Get = Callable[[str], Awaitable[int]]


class Counting:
    """An HTTP server that answers in two halves, and knows which connections its clients hold."""

    def __init__(self) -> None:
        self.url = ""
        self._streams: set[SocketStream] = set()

    @property
    def open(self) -> int:
        """The connections that the clients have not closed."""
        return len(self._streams)

    async def __call__(self, stream: SocketStream) -> None:
        self._streams.add(stream)
        try:
            async with stream:
                while await _asked(stream):
                    await stream.send(_ANSWER + b"half")
                    await anyio.lowlevel.checkpoint()
                    await stream.send(b"half")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError):
            return
        finally:
            self._streams.remove(stream)

    async def hang_up(self) -> None:
        """End each connection from this side; it counts as open until its client has closed it too."""
        for stream in self._streams:
            await stream.send_eof()

    async def left_alone(self) -> int:
        """The connections that are still open when the clients are gone."""
        with anyio.move_on_after(_SETTLES_S):
            while self.open:  # noqa: ASYNC110 - what ends it is the other side, not a task here
                await anyio.sleep(0.001)
        return self.open


async def _asked(stream: SocketStream) -> bool:
    held = b""
    try:
        while b"\r\n\r\n" not in held:
            held += await stream.receive()
    except anyio.EndOfStream:
        return False
    return True


@asynccontextmanager
async def counting(tls: ssl.SSLContext | None = None) -> AsyncIterator[Counting]:
    """The server, on a free port of the loopback, with or without TLS."""
    server = Counting()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    server.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
    served: Any = listener if tls is None else TLSListener(listener, tls, standard_compatible=False)
    async with served, anyio.create_task_group() as tasks:
        tasks.start_soon(served.serve, server)
        yield server
        tasks.cancel_scope.cancel()


def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server shows, and what its clients trust."""
    authority, trusted = trustme.CA(), ssl.create_default_context()
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(shown)
    authority.configure_trust(trusted)
    return shown, trusted


class Race(Policy):
    """Makes the call twice at once and takes what comes first; the other one is cancelled and awaited."""

    name = "race"

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        async def raced(*args: Any, **kwargs: Any) -> Any:
            found: list[Any] = []

            async def run() -> None:
                result = await call(*args, **kwargs)
                found.append(result)
                tasks.cancel_scope.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                tasks.start_soon(run)
            return found[0]

        return raced


async def storm(get: Get, *, seed: int, requests: int) -> int:
    """Make the requests, a few at a time, and cancel each at a random point; the number of those answered."""
    chance, answered = random.Random(seed), 0
    room = anyio.Semaphore(AT_ONCE)

    async def one(turns: int, how: float) -> None:
        nonlocal answered
        try:
            if how < 0.2:
                with anyio.move_on_after(turns / 10_000):
                    answered += await get("/") == 200
            else:
                answered += await cancelled_after(turns, get, is_native=how < 0.6)
        finally:
            room.release()

    async with anyio.create_task_group() as tasks:
        for _ in range(requests):
            await room.acquire()
            # Most of them end early, where connections are assigned and made; some live to the end of the body.
            mean = chance.choice([5, 50, 1_000])
            tasks.start_soon(one, int(chance.expovariate(1 / mean)), chance.random())
    return answered


async def cancelled_after(turns: int, get: Get, *, is_native: bool) -> int:
    """Make one request and cancel it after so many turns of the loop, as tasks do or as scopes do."""
    if is_native and sniffio.current_async_library() == "asyncio":
        return await _task_cancelled_after(turns, get)
    answered = 0

    async def ask() -> None:
        nonlocal answered
        answered = await get("/") == 200
        over.set()

    over = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        for _ in range(turns):
            if over.is_set():
                break
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    return answered


async def _task_cancelled_after(turns: int, get: Get) -> int:
    """The same with `Task.cancel`, which no shield of anyio stops, twice."""
    task = asyncio.ensure_future(get("/"))
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task])
    return 0 if task.cancelled() else int(done.pop().result() == 200)


async def answered_at_once(get: Get, count: int = 16) -> tuple[int, float]:
    """How many of so many requests made at once are answered, and after how many seconds the last one is."""
    found: list[int] = []
    began = anyio.current_time()

    async def one() -> None:
        found.append(await get("/"))

    with anyio.move_on_after(_SETTLES_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
    return found.count(200), anyio.current_time() - began


def hurried() -> Timeout:
    """A limit that strikes many of the requests of a storm."""
    return Timeout(0.2, name="storm")
