"""What the transports for httpx and for httpx2 do, written once.

```
client --> transport --> pipeline --> attempt: send, read the body --> inner transport
                            ^             |
                            +-- failure --+      in time, whole, decodable, not "unavailable"
```

The two libraries have the same names and share no types: a request of one is an AssertionError in
the other. So this module knows neither. It takes the classes that it needs as a `Library`, and the
modules named for the libraries give its functions their types.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import carried_deadline
from sdpatterns.core.policy import lifted
from sdpatterns.core.runtime import current, finish
from sdpatterns.core.tracing import TRACERS, Opened
from sdpatterns.errors import DeadlineExceeded
from sdpatterns.web.outgoing import Outgoing, note_answer, opened
from sdpatterns.web.sockets import CutOff, close_broken_handshakes

__all__ = ["AsyncExchange", "AsyncLive", "Exchange", "Library", "Live"]


class Library(NamedTuple):
    """The classes of one library that an exchange needs."""

    request: Callable[..., Any]
    response: Callable[..., Any]
    held: Callable[[bytes], Any]
    """A body that is in memory."""
    live: Callable[..., Any]
    """A body that is still to come: `AsyncLive` or `Live`, as the library's own kind of stream."""
    unavailable: type[Exception]
    """What the pipeline sees of an answer with one of the statuses that count as failures."""


class _Exchanges:
    """The answers of one call of the client, over all attempts, that still hold a connection."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: list[Any] = []


_CALL: ContextVar[_Exchanges] = ContextVar("sdpatterns_http_call")
_LAST: ContextVar[Any] = ContextVar("sdpatterns_last_answer", default=None)
# What the last attempt of this call got, for the next attempt to close. A context variable, because
# attempts that run at the same time, in tasks of their own, must not close each other's.


class _Exchange:
    """What the two kinds of exchange share."""

    def __init__(self, outgoing: Outgoing, library: Library, *, reads_body: bool) -> None:
        self._outgoing = outgoing
        self._library = library
        self._reads_body = reads_body

    def _prepared(self, request: Any, left_s: float | None) -> Any:
        """A copy with trace and deadline, made for each attempt: the request may be sent again later."""
        attempt = self._library.request(
            request.method,
            request.url,
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        if left_s is not None:
            asked = request.extensions.get("timeout", {})
            phases = {phase: asked.get(phase) for phase in ("connect", "read", "write", "pool")}
            # httpx limits each phase by itself: each gets what is left. The bound of the attempt limits the sum.
            limited = {phase: left_s if asked_s is None else min(asked_s, left_s) for phase, asked_s in phases.items()}
            attempt.extensions = {**request.extensions, "timeout": limited}
        self._outgoing.carry(attempt.headers, left_s)
        return attempt

    def _is_read(self, request: Any, response: Any) -> bool:
        """Whether the body is read inside the attempt."""
        # After 101 or CONNECT the connection is a tunnel, whose bytes are not a body.
        if response.status_code == 101 or request.method == "CONNECT":
            return False
        if self._outgoing.is_unavailable(response.status_code):
            return True
        wanted = request.extensions.get("reads_body", self._reads_body)
        return bool(wanted) and self._outgoing.is_read(response.headers)

    def _judged(self, response: Any, content: bytes | None) -> Any:
        """The answer, its body in memory where `content` is given; raises for one that is a failure."""
        if content is not None:
            response.stream = self._library.held(content)
        if self._outgoing.is_unavailable(response.status_code):
            raise self._library.unavailable(response)
        if content and "content-encoding" in response.headers:
            # The client decodes it after the pipeline. Garbage is this attempt's failure, so see now.
            stream = self._library.held(content)
            self._library.response(response.status_code, headers=response.headers, stream=stream).read()
        return response

    def _may_repeat(self, request: Any) -> bool:
        is_harmless = self._outgoing.may_repeat(request.method, request.headers)
        return is_harmless and isinstance(request.stream, self._library.held)  # type: ignore[arg-type]

    def _late(self, left_s: float) -> DeadlineExceeded:
        return DeadlineExceeded(self._outgoing.name, left_s)


def _opened(request: Any) -> Opened:
    url = request.url
    # Put together from its parts, because a changed copy of the URL would be parsed again.
    path = url.raw_path.partition(b"?")[0]
    return opened(request.method, f"{url.scheme}://{(url.netloc + path).decode('ascii')}", url.host)


class AsyncExchange(_Exchange):
    """Calls of an async client: each goes through the pipeline to the inner transport."""

    def __init__(
        self, send: Callable[[Any], Awaitable[Any]], outgoing: Outgoing, library: Library, *, reads_body: bool
    ) -> None:
        super().__init__(outgoing, library, reads_body=reads_body)
        self._send = send
        self._repeated, self._single = outgoing.around(self._attempt)

    async def __call__(self, request: Any) -> Any:
        call = _Exchanges()
        until = carried_deadline()
        tokens = _CALL.set(call), _LAST.set(None)
        kept: Any = None
        try:
            kept = await (self._repeated if self._may_repeat(request) else self._single)(request)
        except self._library.unavailable as refused:
            kept = refused.response  # type: ignore[attr-defined]
        finally:
            _LAST.reset(tokens[1])
            _CALL.reset(tokens[0])
            if call.held:
                # All but the one that the caller gets: a hedge or a retry may have opened more.
                await _close_all([answer for answer in call.held if answer is not kept])
        if until is not None and call.held:
            kept.stream = self._library.live(kept.stream, until=until, name=self._outgoing.name)
        return kept

    async def _attempt(self, request: Any) -> Any:
        """One request over the wire; the answer before it, if it still holds a connection, is closed first."""
        # Otherwise the attempts of one call would hold several connections of the pool, and could wait for each other.
        unwanted = _LAST.get()
        if unwanted is not None:
            _LAST.set(None)
            await unwanted.aclose()
        if not TRACERS:
            return await self._within_deadline(request)
        with _opened(request) as span:
            try:
                response = await self._within_deadline(request)
            except self._library.unavailable as refused:
                note_answer(span, refused.response.status_code)  # type: ignore[attr-defined]
                raise
            note_answer(span, response.status_code)
            return response

    async def _within_deadline(self, request: Any) -> Any:
        left_s = self._outgoing.left_s()
        prepared = self._prepared(request, left_s)
        close_broken_handshakes(prepared)
        if left_s is None:
            return await self._answered(prepared)
        bound = current().bound(left_s)
        try:
            response = await self._answered(prepared)
        except BaseException as error:
            # Only if our own time was up. A cancellation by the caller has to pass as it is.
            if bound.end(error):
                raise self._late(left_s) from error
            raise
        bound.end(None)
        return response

    async def _answered(self, request: Any) -> Any:
        response = await self._send(request)
        content = None
        if self._is_read(request, response):
            try:
                content = await self._read(response)
            except BaseException:
                # A body that was not read to its end keeps its connection.
                await response.aclose()
                raise
        if content is None:
            _CALL.get().held.append(response)
            _LAST.set(response)
        return self._judged(response, content)

    async def _read(self, response: Any) -> bytes | None:
        """The whole body; None where it is longer than is read, and the answer goes on with what is left."""
        body: AsyncIterable[bytes] = response.stream
        chunks, size_bytes = aiter(body), 0
        first: list[bytes] = []
        async for chunk in chunks:
            first.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > self._outgoing.body_bytes_max:
                response.stream = self._library.live(body, first=first, rest=chunks)
                return None
        await response.stream.aclose()
        return b"".join(first)


async def _close_all(answers: Sequence[Any]) -> None:
    """Close each, though closing another is cancelled or fails; then raise what came first."""
    failed: BaseException | None = None
    for answer in answers:
        try:
            await answer.aclose()
        except BaseException as error:  # noqa: BLE001 - raised once all are closed
            failed = failed or error
    if failed is not None:
        raise failed


class AsyncLive:
    """A body that is still to come, after `first`, and by `until`."""

    def __init__(
        self,
        body: Any,
        *,
        first: Sequence[bytes] = (),
        rest: AsyncIterator[bytes] | None = None,
        until: float | None = None,
        name: str = "",
    ) -> None:
        self._body = body
        self._first = first
        self._rest = rest
        self._until = until
        self._name = name

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._first:
            yield chunk
        rest = aiter(self._body) if self._rest is None else self._rest
        while (more := await self._next(rest)) is not None:
            yield more

    async def _next(self, rest: AsyncIterator[bytes]) -> bytes | None:
        if self._until is None:
            return await anext(rest, None)
        left_s = self._until - SYSTEM.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded(self._name, 0.0)
        bound = current().bound(left_s)
        try:
            chunk = await anext(rest, None)
        except BaseException as error:
            if bound.end(error):
                raise DeadlineExceeded(self._name, left_s) from error
            raise
        bound.end(None)
        return chunk

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._body.aclose()


class Exchange(_Exchange):
    """`AsyncExchange` for a client that blocks its thread."""

    def __init__(self, send: Callable[[Any], Any], outgoing: Outgoing, library: Library, *, reads_body: bool) -> None:
        super().__init__(outgoing, library, reads_body=reads_body)
        self._send = send
        self._repeated, self._single = outgoing.around(lifted(self._attempt))

    def __call__(self, request: Any) -> Any:
        call = _Exchanges()
        until = carried_deadline()
        tokens = _CALL.set(call), _LAST.set(None)
        kept: Any = None
        try:
            kept = finish((self._repeated if self._may_repeat(request) else self._single)(request))
        except self._library.unavailable as refused:
            kept = refused.response  # type: ignore[attr-defined]
        finally:
            _LAST.reset(tokens[1])
            _CALL.reset(tokens[0])
            for answer in call.held:
                if answer is not kept:
                    answer.close()
        if until is not None and call.held:
            kept.stream = self._library.live(kept.stream, until=until, name=self._outgoing.name, of=kept)
        return kept

    def _attempt(self, request: Any) -> Any:
        unwanted = _LAST.get()
        if unwanted is not None:
            _LAST.set(None)
            unwanted.close()
        if not TRACERS:
            return self._answered(request)
        with _opened(request) as span:
            try:
                response = self._answered(request)
            except self._library.unavailable as refused:
                note_answer(span, refused.response.status_code)  # type: ignore[attr-defined]
                raise
            note_answer(span, response.status_code)
            return response

    def _answered(self, request: Any) -> Any:
        until = carried_deadline()
        response = self._send(self._prepared(request, self._outgoing.left_s()))
        content = None
        if self._is_read(request, response):
            try:
                with CutOff(response, until, self._outgoing.name):
                    content = self._read(response)
            except BaseException:
                response.close()
                raise
        if content is None:
            _CALL.get().held.append(response)
            _LAST.set(response)
        return self._judged(response, content)

    def _read(self, response: Any) -> bytes | None:
        body: Iterable[bytes] = response.stream
        chunks, size_bytes = iter(body), 0
        first: list[bytes] = []
        for chunk in chunks:
            first.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > self._outgoing.body_bytes_max:
                response.stream = self._library.live(body, first=first, rest=chunks)
                return None
        response.stream.close()
        return b"".join(first)


class Live:
    """`AsyncLive` for a client that blocks its thread."""

    def __init__(
        self,
        body: Any,
        *,
        first: Sequence[bytes] = (),
        rest: Iterator[bytes] | None = None,
        until: float | None = None,
        name: str = "",
        of: Any = None,
    ) -> None:
        self._body = body
        self._first = first
        self._rest = rest
        self._until = until
        self._name = name
        self._of = of

    def __iter__(self) -> Iterator[bytes]:
        yield from self._first
        rest = iter(self._body) if self._rest is None else self._rest
        while True:
            with CutOff(self._of, self._until, self._name):
                chunk = next(rest, None)
            if chunk is None:
                return
            yield chunk

    def close(self) -> None:
        self._body.close()
