"""Sockets and servers: bound before anything starts, drained in order when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TypeAlias

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.background import happens
from shop.failures import StartFailed
from shop.headers import HeadersMiddleware
from shop.http_protocol import StrictHttpProtocol

_log = logging.getLogger("shop.serving")
HOST = "127.0.0.1"
Listener: TypeAlias = socket.socket
ENDING = "ending"  # in the state of a request: the event that its server is to end
LEAVING = "leaving"  # the event before it: the server still answers, but is to get no new requests
FINISHED = "finished"  # in the state of an app: waits until what it keeps in memory is needed no more
_BACKLOG = 1_024
_DRAIN_S = {"gateway": 10, "psp": 1}
# Sagas, tables and relay, one after the other; jobs; cards of checkouts that are under way.
_WORK_S = {"ordering": 9, "fulfilment": 2, "payments": 5}
_LAST_WORDS_S = 1.0
_TICK_S = 1.0  # how often a server sets a new Date header
_LOOKS_S = 0.01
_TURNS = 5  # of the loop, from a connection that waits to be accepted to the request that came on it
_IDLE_S = 30  # longer than clients keep a connection (httpx: 5 s), or it is closed as they take it up again


def bind(port: int, *, host: str = HOST, or_any: bool = False, listens: bool = True) -> Listener:
    """A listening socket; when the port is taken, another one with `or_any`, else StartFailed.

    Without `listens` its port is taken, and callers are refused until its server begins to answer.
    """
    # Named as TCP outright: only then does asyncio switch Nagle's algorithm off, which costs 40 ms a hop.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        if listens:
            listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        if or_any:
            return bind(0, host=host)
        raise StartFailed(f"cannot listen on {host}:{port}: {_reason(error)}; choose another with --port") from None
    listener.settimeout(0.0)
    return listener


def adopt(descriptor: int) -> Listener:
    """A listening socket that another process has bound."""
    listener = socket.socket(fileno=descriptor)
    listener.settimeout(0.0)
    return listener


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def address(listener: Listener) -> str:
    """The base URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


def drain_s(name: str) -> int:
    """How long a service may take to finish the requests in flight."""
    return _DRAIN_S.get(name, 5)


def ends_s(name: str) -> int:
    """How long a service may take to end: its requests in flight, and what it does beside them in the background."""
    return drain_s(name) + _WORK_S.get(name, 0)


class LastAnswersMiddleware:
    """Says `Connection: close` with each answer once the server is leaving.

    So callers give up their connections one by one, while answers still come. A connection that a server closes
    by itself may be closed under a request that is on its way.
    """

    def __init__(self, app: ASGIApp, leaving: asyncio.Event) -> None:
        self._app = app
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._leaving.is_set():
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, closing)


class Server(uvicorn.Server):
    """One service on its own sockets. Signals are the whole shop's business, not one server's."""

    def __init__(self, name: str, app: ASGIApp, listeners: Sequence[Listener]) -> None:
        self._leaving = asyncio.Event()
        config = uvicorn.Config(
            LastAnswersMiddleware(HeadersMiddleware(app), self._leaving),
            http=StrictHttpProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=_IDLE_S,
            proxy_headers=False,  # there is no proxy in front, so a client could set X-Forwarded-For to anything
            timeout_graceful_shutdown=drain_s(name),
            ws="none",
        )
        super().__init__(config)
        self._app = app
        self._listeners = list(listeners)
        self._running: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def open(self) -> None:
        """Begin to answer."""
        self._running = asyncio.create_task(self.serve(sockets=self._listeners))
        while not self.started:
            if self._running.done():
                await self._running
                raise StartFailed("a server ended before it was ready")
            await asyncio.sleep(0.005)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; a request finds in its state when this server is to end, and a stream ends then."""
        self.lifespan.state[ENDING] = self._ending
        self.lifespan.state[LEAVING] = self._leaving
        await super().startup(sockets)

    def leave(self) -> None:
        """Answer from now on that this server is not ready, and close each connection after its next answer."""
        self._leaving.set()

    async def finished(self) -> None:
        """Wait, while this server still answers, for what only it can finish: what its app says it keeps in memory."""
        state = getattr(self._app, "state", None)
        if (wait := getattr(state, FINISHED, None)) is not None:
            await wait()

    async def main_loop(self) -> None:
        """Wait until the end. uvicorn would look for it ten times a second."""
        while not await self.on_tick(0):
            await happens(self._ending, _TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the requests in flight, and cancel those that take too long. uvicorn would wait between the steps."""
        await _arrived()
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        await _arrived()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn's own sets
                    await asyncio.sleep(_LOOKS_S)
        if self.server_state.tasks:
            _log.warning("requests were cut off", extra={"number": len(self.server_state.tasks)})
        for task in self.server_state.tasks:
            task.cancel()

    async def drain(self) -> None:
        """Take no new connections, finish the requests in flight, close all connections."""
        self.should_exit = True
        self._ending.set()
        if self._running is not None:
            await self._running
        # Those that were cancelled have not ended yet, and neither have their connections.
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the event loop tells each of them now that it has ended


async def _arrived() -> None:
    """Have the loop take in what has arrived: the kernel resets a connection that is closed with bytes unread."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def answering(servers: Mapping[str, Server]) -> AsyncIterator[None]:
    """All servers. The gateway is closed first, so that a checkout in flight still reaches every service it needs."""
    try:
        await asyncio.gather(*(server.open() for server in servers.values()))
        yield
    finally:
        if "gateway" in servers:
            await servers["gateway"].drain()
        await asyncio.gather(*(server.drain() for server in servers.values()))
