"""How an ASGI part serves a WSGI application: stepped by the server's thread, without an event loop.

```
server --environ--> Door --scope--> [ ASGI part ] --scope--> WSGI application
       <--parts---       <-messages-              <-messages-
```

In a program without a loop nothing of a part suspends, except `send`: there the coroutine stops and
hands its message out, and the server's next pull continues it. So each part is written once, and a
stream stays one. Several doors around each other are one: their parts are stacked, and the request
is translated once.

Source: PEP 3333 (WSGI); the ASGI specification, version 3.0.
"""

from __future__ import annotations

import contextvars
import types
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any, TypeVar, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from sdpatterns.core.judging import answering
from sdpatterns.core.runtime import BLOCKING, current, finish
from sdpatterns.web.asgi.protocol import ASGIApp, Headers, Message, Receive, Scope, Send, body_of
from sdpatterns.web.wsgi.environ import declared_length, environ_headers, scope_of, with_body, with_headers

__all__ = ["Door", "environ_of", "from_environ", "needing_no_loop"]

T = TypeVar("T")
S = TypeVar("S")

_EXCHANGE = "sdpatterns.wsgi"
_READ_BYTES = 65_536


def needing_no_loop(thing: T) -> T:
    """`thing`, if its store blocks or is in this process. Raises `TypeError` otherwise."""
    needs = getattr(thing, "runtime", None)
    if needs is not None and needs is not BLOCKING:
        name = getattr(thing, "name", "")
        raise TypeError(f"the store of {type(thing).__name__} {name!r} needs {needs.name}: build it with blocking=True")
    return thing


def environ_of(scope: Scope) -> WSGIEnvironment:
    """The environ of a request that came through a `Door`, as the application has got it."""
    exchange: _WsgiExchange = scope[_EXCHANGE]
    return exchange.environ


def from_environ(
    asked: Callable[[WSGIEnvironment], S], field: str = "a function of the environ"
) -> Callable[[Scope], S]:
    """A function of the environ as one of the scope. Raises TypeError for an async one: nothing here awaits it."""
    function = answering(field, asked)
    return lambda scope: function(environ_of(scope))


class Door:
    """A WSGI application inside an ASGI part: `Door(app, lambda inside: SomeMiddleware(inside, ...))`.

    **Keeps**: what WSGI promises to servers and applications: `start_response` with `exc_info`,
    `write`, streams part by part, `close` at the end. What a part sets in its context is seen by the
    application alone. **May fail** with what the part and the application raise; with
    RuntimeError in a thread that runs an event loop. **Costs** about 13 µs for all doors of a stack.
    """

    def __init__(self, app: WSGIApplication, part: Callable[[ASGIApp], ASGIApp]) -> None:
        self.part: ASGIApp = part(app.part if isinstance(app, Door) else _Inside(app))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if current() is not BLOCKING:
            raise RuntimeError("a WSGI application would stop the event loop of this thread: use the ASGI parts")
        return _Answer(self.part, _WsgiExchange(environ, start_response)).begun()


@types.coroutine
def _handed_out(message: Message) -> Generator[Message, None, None]:
    yield message


class _WsgiExchange:
    """One request: what the part receives of it, and the answer as far as it goes."""

    def __init__(self, environ: WSGIEnvironment, start_response: StartResponse) -> None:
        self.environ = environ
        self.headers = environ_headers(environ)
        self.writes_now = False
        self.write: Callable[[bytes], object] | None = None
        self.start: Message | None = None
        self._start_response = start_response
        self._left = declared_length(environ)

    async def receive(self) -> Message:
        """The next part of the request's body."""
        size_bytes = _READ_BYTES if self._left is None else min(self._left, _READ_BYTES)
        data: bytes = self.environ["wsgi.input"].read(size_bytes) if size_bytes else b""
        if self._left is not None:
            # Fewer bytes than declared: the client has left. A part must not take the rest for the whole body.
            if size_bytes and not data:
                return {"type": "http.disconnect"}
            self._left -= len(data)
        return {"type": "http.request", "body": data, "more_body": bool(data) and self._left != 0}

    async def send(self, message: Message) -> None:
        """Hand a message to the server: when it pulls, or at once where the application writes."""
        if not self.writes_now:
            await _handed_out(message)
        elif message["type"] == "http.response.start":
            self.start = message
        else:
            self.respond(message)
            assert self.write is not None
            self.write(message.get("body", b""))

    def respond(self, message: Message) -> None:
        """Status and headers, before the first part of the body."""
        start, self.start = self.start, None
        if start is None:
            return
        headers: Headers = list(start.get("headers", ()))
        status = start["status"]
        if not message.get("more_body", False) and self._may_have_length(status, headers):
            headers.append((b"Content-Length", b"%d" % len(message.get("body", b""))))
        listed = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        self.write = self._start_response(f"{status} {start.get('reason') or _phrase(status)}", listed)

    def respond_to_nobody(self) -> None:
        """The client left before its request was complete: a server wants a status all the same."""
        if self.write is None:
            headers = [("Content-Type", "text/plain"), ("Content-Length", "0")]
            self.write = self._start_response("400 Bad Request", headers)

    def _may_have_length(self, status: int, headers: Headers) -> bool:
        if status < 200 or status in {204, 304} or self.environ["REQUEST_METHOD"] == "HEAD":
            return False
        return not {name.lower() for name, _ in headers} & {b"content-length", b"transfer-encoding"}


class _Answer:
    """The iterable that the server pulls: each pull steps the part to its next message.

    Only the server holds it, so that one which is dropped unclosed is closed in its own context.
    """

    def __init__(self, part: ASGIApp, exchange: _WsgiExchange) -> None:
        self._exchange = exchange
        self._first: bytes | None = None
        self._is_complete = False
        # Done until the work exists, so that `__del__` does nothing if `part` raises.
        self._is_done = True
        # Each step runs in the request's own context, whichever thread the server takes for it.
        self._context = contextvars.copy_context()
        scope = scope_of(exchange.environ, exchange.headers)
        scope[_EXCHANGE] = exchange
        self._work = cast("Coroutine[Any, Any, None]", part(scope, exchange.receive, exchange.send))
        self._is_done = False

    def begun(self) -> _Answer:
        """Itself, once the part has decided on status and headers."""
        self._first = self._pull()
        return self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        body, self._first = self._first, None
        if body is None:
            body = self._pull()
        if body is None:
            raise StopIteration
        return body

    def close(self) -> None:
        """The server is done: what comes after a whole answer runs, anything else is stopped."""
        # A part may have work after the answer, such as to store it. An answer that was cut off is not stored.
        if self._is_complete:
            self._pull()
        self._is_done, self._first = True, None
        self._context.run(self._work.close)

    def __del__(self) -> None:
        if not self._is_done:
            self.close()

    def _pull(self) -> bytes | None:
        """The next part of the body, or None when the work has ended."""
        while not self._is_done:
            message = self._step()
            if message["type"] == "http.response.start":
                self._exchange.start = message
            elif message["type"] == "http.response.body":
                self._exchange.respond(message)
                self._is_complete = not message.get("more_body", False)
                if message.get("body") or not self._is_complete:
                    return bytes(message.get("body", b""))
        return None

    def _step(self) -> Message:
        try:
            message = self._context.run(self._work.send, None)
        except StopIteration:
            self._is_done = True
            self._exchange.respond_to_nobody()
            return {"type": "ended"}
        except _Stopped as stopped:
            self._is_done = True
            raise stopped.stop from None
        except BaseException:
            self._is_done = True
            raise
        # Parts yield only messages. Anything else is a future of an event loop, which would never be done here.
        if not isinstance(message, MutableMapping):
            self._is_done = True
            self._context.run(self._work.close)
            raise RuntimeError("this part has to wait on an event loop, and there is none here")  # noqa: TRY004
        return message


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class _Stopped(BaseException):
    """The application ended by StopIteration, which makes the server close the connection.

    Like a cancellation it is neither an answer nor a failure for the parts that it passes.
    """

    def __init__(self, stop: StopIteration) -> None:
        self.stop = stop
        super().__init__()


class _Inside:
    """The WSGI application as an ASGI one."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: _WsgiExchange = scope[_EXCHANGE]
        environ = exchange.environ
        # The environ is built again only if a part has changed the headers or reads the body.
        if scope["headers"] is not exchange.headers:
            environ = with_headers(environ, scope["headers"])
        if receive != exchange.receive:
            body = await body_of(receive)
            if body is None:
                return
            environ = with_body(environ, body)
        exchange.environ = environ
        caller = _Caller(exchange, send)
        try:
            parts = self._app(environ, caller.start_response)
            try:
                await caller.pass_on(parts)
            finally:
                close = getattr(parts, "close", None)
                if close is not None:
                    close()
        except StopIteration as stop:
            # No coroutine can raise it: it would arrive as a RuntimeError.
            raise _Stopped(stop) from None


class _Caller:
    """What the application sees of its caller: `start_response` and `write`."""

    def __init__(self, exchange: _WsgiExchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send
        self._start: Message | None = None
        self._left: int | None = None
        self._has_sent = self._has_started = self._is_complete = False

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        if exc_info is not None:
            try:
                if self._has_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._has_started:
            raise AssertionError("start_response was called twice without exc_info")
        code, _, reason = status.partition(" ")
        listed = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._start = {"type": "http.response.start", "status": int(code), "headers": listed, "reason": reason}
        self._left = next((int(value) for name, value in listed if name == b"content-length"), None)
        self._has_started = True
        return self.write

    def write(self, data: bytes) -> None:
        """The older way to send: at once, from inside the application."""
        self._exchange.writes_now = True
        try:
            finish(self._pass(data, more=True))
        finally:
            self._exchange.writes_now = False

    async def pass_on(self, parts: Iterable[bytes]) -> None:
        single = isinstance(parts, (list, tuple)) and len(parts) == 1
        for part in parts:
            # Where the end is known the last part says so: readers of answers need not wait for more.
            if not self._is_complete:
                await self._pass(part, more=not single and self._left != len(part))
        if not self._has_started:
            raise AssertionError("the application returned without calling start_response")
        if not self._is_complete:
            await self._pass(b"", more=False)

    async def _pass(self, data: bytes, *, more: bool) -> None:
        start, self._start = self._start, None
        if start is not None:
            self._has_sent = True
            await self._send(start)
        elif not self._has_sent:
            raise AssertionError("a part of the body came before start_response was called")
        if self._left is not None:
            self._left -= len(data)
        self._is_complete = not more
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
