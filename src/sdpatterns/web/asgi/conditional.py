"""Conditional requests: nothing is sent twice to who has it, and nothing overwritten unseen.

| the request | gets |
|---|---|
| GET or HEAD, If-None-Match with the tag of the answer | 304 |
| GET or HEAD, If-Modified-Since not before the answer's Last-Modified | 304 |
| any method, If-Match with another tag than the current one | 412 |
| PUT, PATCH ..., If-None-Match: * where there is something | 412 |

Source: RFC 9110, 13, https://www.rfc-editor.org/rfc/rfc9110#section-13
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias

from sdpatterns.core.asking import asked
from sdpatterns.web.asgi.protocol import (
    WITHOUT_BYTES,
    ASGIApp,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    by_bytes_alone,
    send_problem,
)
from sdpatterns.web.dates import date_of
from sdpatterns.web.etags import ETag, conditions, etag_of, judged, parse_etag, precondition
from sdpatterns.web.problems import Problem

__all__ = ["ConditionalMiddleware", "Current"]

Current: TypeAlias = Callable[[Scope], Awaitable[ETag | None] | ETag | None]
"""The tag of what a request is about, as it is now; None where there is nothing."""

_LEFT_OUT = frozenset(
    b"content-length content-range content-type content-encoding content-language transfer-encoding".split()
)


class ConditionalMiddleware:
    """Adds ETags to answers to GET, and answers 304 or 412 as the conditions of a request require.

    An answer of 200 or 203 to GET keeps the ETag that the application gave it; one without gets a strong
    tag of its bytes, up to `body_bytes_max`, over which it passes as it comes. So does a stream: an answer
    in several parts that does not say its length. The conditions hold for each answer from 200 to 299, and
    before its Range: a part (206) is judged by the tag and date that the application gives it.

    `current` gives the tag of a resource before `methods` change it; without it only GET and HEAD are
    checked, and an application checks the others by `precondition`. Another client may change the
    resource between that check and the change: where it matters, the change itself must name the version.

    **Keeps**: a GET's condition is judged by the very answer that would be sent. **May fail** with
    what `current` raises. **Costs** the body in memory and one digest for answers without a tag; the
    application does its work all the same.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        current: Current | None = None,
        methods: Collection[str] = ("PUT", "PATCH", "DELETE", "POST"),
        body_bytes_max: int = 1_048_576,
    ) -> None:
        if body_bytes_max < 0:
            raise ValueError(f"body_bytes_max must not be negative, got {body_bytes_max!r}")
        self._app = app
        self._current = current
        self._methods = frozenset(method.upper() for method in methods)
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] in {"GET", "HEAD"}:
            await self._app(by_bytes_alone(scope), receive, _Judge(scope, send, self._body_bytes_max))
        elif scope["method"] in self._methods and self._current is not None:
            await self._change(self._current, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _change(self, current: Current, scope: Scope, receive: Receive, send: Send) -> None:
        # Without a condition there is nothing to check, and `current` may cost a query.
        names = {name.lower() for name, _ in scope["headers"]}
        if not names & {b"if-match", b"if-none-match"}:
            await self._app(scope, receive, send)
            return
        etag = await asked(current(scope))
        if precondition(scope["method"], scope["headers"], etag=etag, exists=etag is not None):
            await send_problem(send, _CHANGED, [] if etag is None else [(b"etag", str(etag).encode("latin-1"))])
        else:
            await self._app(scope, receive, send)


_CHANGED = Problem(status=412, detail="It is not, or no longer, in the state that this request is conditional on.")


class _Judge:
    """Stands as `send`: holds an answer back until its tag is known."""

    __slots__ = ("_body", "_bytes_max", "_drops", "_holds", "_method", "_said", "_send", "_start")

    def __init__(self, scope: Scope, send: Send, bytes_max: int) -> None:
        self._method: str = scope["method"]
        self._said = conditions(scope["headers"])
        self._send = send
        self._bytes_max = bytes_max
        self._start: Message = {}
        self._body = bytearray()
        self._holds = False
        self._drops = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] == "http.response.body" and self._drops:
            return
        elif message["type"] == "http.response.body" and self._holds:
            await self._hold(message)
        elif message["type"] in WITHOUT_BYTES:
            await self._pass_unseen(message)
        else:
            await self._send(message)

    async def _pass_unseen(self, message: Message) -> None:
        """A part whose bytes only the server sees, so that no tag can be computed."""
        if self._holds:
            self._holds = False
            await self._judge(None)
        if not self._drops:
            await self._send(message)

    async def _begin(self, start: Message) -> None:
        headers: Headers = list(start.get("headers", ()))
        self._start = {**start, "headers": headers}
        given = _value(headers, b"etag")
        if not (200 <= start["status"] < 300 or _is_out_of_range(start["status"], headers)):
            await self._send(self._start)
        elif given is not None or start["status"] not in _TAGGED or self._method == "HEAD":
            # A tag of its own, or nothing that one could be made of: HEAD has no body.
            await self._judge(_readable(given))
        # Events have to arrive one by one; held back for a tag, none would come before the end.
        elif _is_endless(headers):
            await self._judge(None)
        else:
            self._holds = True

    async def _hold(self, message: Message) -> None:
        last = not message.get("more_body", False)
        # A stream without a length may never end, so its first part must not wait for a tag.
        if not self._body and not last and _value(self._start["headers"], b"content-length") is None:
            await self._let_go(None)
            if not self._drops:
                await self._send(message)
            return
        if last and not self._body:
            # Most answers come in one part, which needs no copy.
            body = bytes(message.get("body", b""))
        else:
            self._body += message.get("body", b"")
            if not last and len(self._body) <= self._bytes_max:
                return
            body = bytes(self._body)
            # Too long or complete: what was held is sent now, and later parts pass directly.
            self._body.clear()
        await self._let_go(etag_of(body) if last and len(body) <= self._bytes_max else None)
        if not self._drops:
            await self._send({"type": "http.response.body", "body": body, "more_body": not last})

    async def _let_go(self, tag: ETag | None) -> None:
        self._holds = False
        if tag is not None:
            self._start["headers"].append((b"etag", str(tag).encode()))
        await self._judge(tag)

    async def _judge(self, tag: ETag | None) -> None:
        """Send the start of the answer, or what the request's conditions say instead of it."""
        if not self._said:
            await self._send(self._start)
            return
        headers: Headers = self._start["headers"]
        status = judged(self._method, self._said, etag=tag, modified_at=_modified_at(headers))
        self._drops = status is not None
        if status == 412:
            await send_problem(self._send, _CHANGED)
        elif status == 304:
            # A 304 has no body, so the headers that describe one would be wrong (RFC 9110, 15.4.5).
            kept = [pair for pair in headers if pair[0].lower() not in _LEFT_OUT]
            await self._send({"type": "http.response.start", "status": 304, "headers": kept})
            await self._send({"type": "http.response.body", "body": b""})
        else:
            await self._send(self._start)


_TAGGED = frozenset({200, 203})
"""The answers that hold the whole resource, so that a tag may be made of their bytes."""


def _is_out_of_range(status: int, headers: Headers) -> bool:
    """Whether the range alone was refused: the conditions come before it."""
    return status == 416 and (_value(headers, b"etag") or _value(headers, b"last-modified")) is not None


def _value(headers: Headers, name: bytes) -> str | None:
    for key, value in headers:
        if key.lower() == name:
            return value.decode("latin-1")
    return None


def _is_endless(headers: Headers) -> bool:
    return (_value(headers, b"content-type") or "").startswith("text/event-stream")


def _readable(given: str | None) -> ETag | None:
    try:
        return None if given is None else parse_etag(given)
    except ValueError:
        return None


def _modified_at(headers: Headers) -> dt.datetime | None:
    return date_of(_value(headers, b"last-modified") or "")
