"""Answers in the content coding that the client likes best: zstd, br or gzip.

| the answer | is |
|---|---|
| of a type that shrinks, of `bytes_min` or more, or a stream | coded, `Vary: Accept-Encoding` |
| smaller, or to a client that wants no coding | as it is, `Vary: Accept-Encoding` |
| of another type, coded already, a part, with a digest, or `no-transform` | left alone |

Source: RFC 9110, 8.4, 8.8.3.3 and 12.5, https://www.rfc-editor.org/rfc/rfc9110
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from sdpatterns.core.asking import told
from sdpatterns.core.judging import answering
from sdpatterns.web.asgi.protocol import (
    WITHOUT_BYTES,
    ASGIApp,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    altered,
    by_bytes_alone,
    header_values,
    varying,
)
from sdpatterns.web.encodings import CODINGS, Compressor, Make, available, chosen
from sdpatterns.web.etags import ETag, parse_etag, parse_tags

__all__ = ["CompressionMiddleware", "shrinks"]

_TYPES = re.compile(
    r"text/(?!event-stream)[^;]+"
    r"|application/(?:[^;]+\+)?(?:json|xml)|application/(?:javascript|wasm|x-ndjson|manifest\+json)"
    r"|image/(?:svg\+xml|bmp)|font/(?:ttf|otf)"
)
# A digest is of the very bytes, a range is of the uncoded ones.
_UNTOUCHED = (b"content-encoding", b"content-range", b"content-digest", b"repr-digest", b"content-md5")
_BODILESS = frozenset({204, 205, 206, 304})
_MARK = "--"
_TAGGED = frozenset({b"if-match", b"if-none-match"})


def shrinks(media_type: str) -> bool:
    """Whether a body of this type is worth compressing: text and the like, but no stream of events."""
    return _TYPES.fullmatch(media_type) is not None


class CompressionMiddleware:
    """Compresses answers; place it outside the middleware that makes or checks their ETags.

    `codings` are those that may be used, in the order that decides between equal wishes; one whose
    library is not installed is not offered. `types` tells by the media type, in lower case and without
    parameters, what to compress. Each part of a stream is flushed, so that it arrives when it is sent.

    A strong ETag becomes that of the coded answer (`"a"` is `"a--gzip"`), and is what it was when the
    client sends it back, so that 304 and 412 work through this middleware.

    **Keeps**: the decoded body is the application's, byte for byte; the fields of a HEAD are those of GET or
    fewer. **May fail** with nothing of its own. **Costs** the time of the compressor, in the loop: 1 MB takes
    10 ms (zstd) to 30 ms (gzip). An answer that holds a secret beside text of an attacker's choice tells of
    the secret by its length:
    give such ones `Cache-Control: no-transform`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        codings: Sequence[str] = CODINGS,
        bytes_min: int = 500,
        types: Callable[[str], bool] = shrinks,
    ) -> None:
        if bytes_min < 0:
            raise ValueError(f"bytes_min must not be negative, got {bytes_min!r}")
        self._app = app
        self._makers = available(codings)
        self._offered = tuple(self._makers)
        self._bytes_min = bytes_min
        self._types = answering("types", types)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        coding = chosen(header_values(scope, b"accept-encoding"), self._offered)
        inside, known = _without_marks(scope, self._makers)
        answer = _CompressedAnswer(send, known, self._types, self._bytes_min)
        if coding is not None:
            answer.coding, answer.make = coding, self._makers[coding]
            answer.has_body = scope["method"] != "HEAD"
        await self._app(inside, receive, answer)


class _CompressedAnswer:
    """Stands as `send`: holds the start back until the first part of the body is there."""

    __slots__ = ("_bytes_min", "_compressor", "_send", "_start", "_told", "_types", "coding", "has_body", "make")

    def __init__(self, send: Send, told: dict[str, str], types: Callable[[str], bool], bytes_min: int) -> None:
        self._send = send
        self._told = told
        self._types = types
        self._bytes_min = bytes_min
        self._start: Message | None = None
        self._compressor: Compressor | None = None
        self.coding = ""
        self.make: Make | None = None
        self.has_body = True

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] != "http.response.body":
            if message["type"] in WITHOUT_BYTES and self._start is not None:
                # An answer whose bytes only the server sees passes as it is.
                start, self._start = self._start, None
                await self._send(start)
            await self._send(message)
        elif self._start is not None:
            await self._first(self._start, message)
        else:
            await self._part(message)

    async def _begin(self, start: Message) -> None:
        headers: Headers = list(start.get("headers", ()))
        varies = start["status"] == 304 or self._is_eligible(headers)
        if varies:
            headers = varying(headers, b"Accept-Encoding")
        start = {**start, "headers": headers}
        if start["status"] == 304:
            start["headers"] = [self._as_told(pair) for pair in headers]
        if varies and self.make is not None and start["status"] not in _BODILESS:
            if self.has_body:
                self._start = start
            else:
                await self._send({**start, "headers": self._of_head(start["headers"])})
        else:
            await self._send(start)

    def _of_head(self, headers: Headers) -> Headers:
        """What an answer to GET would say, as far as it can be known without the body."""
        length = _length(headers)
        if length is not None and length < self._bytes_min:
            return headers
        if length is not None:
            return _coded_headers(headers, self.coding)
        # It is unknown whether the answer to GET is long enough to be coded, so nothing is said that depends on it.
        return [pair for pair in headers if pair[0].lower() not in {b"etag", b"accept-ranges"}]

    def _is_eligible(self, headers: Headers) -> bool:
        found = {name.lower(): value.decode("latin-1").lower() for name, value in headers}
        if any(name in found for name in _UNTOUCHED) or "no-transform" in found.get(b"cache-control", ""):
            return False
        return told("types", self._types, found.get(b"content-type", "").partition(";")[0].strip(), otherwise=False)

    async def _first(self, start: Message, message: Message) -> None:
        self._start = None
        streams = message.get("more_body", False)
        length = len(message.get("body", b"")) if not streams else _length(start["headers"])
        if self.make is None or (length is not None and length < self._bytes_min):
            await self._send(start)
            await self._send(message)
            return
        self._compressor = self.make(length)
        body = self._coded(message)
        headers = _coded_headers(start["headers"], self.coding)
        if not streams:
            headers.append((b"content-length", b"%d" % len(body)))
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": streams})

    async def _part(self, message: Message) -> None:
        if self._compressor is not None:
            message = {**message, "body": self._coded(message)}
        await self._send(message)

    def _coded(self, message: Message) -> bytes:
        assert self._compressor is not None
        body = message.get("body", b"")
        ready = self._compressor.add(body) if body else b""
        if not message.get("more_body", False):
            return ready + self._compressor.end()
        return ready + self._compressor.flush() if body else ready

    def _as_told(self, pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """The tag of a 304 as the client knows it."""
        text = pair[1].decode("latin-1")
        return (
            (pair[0], self._told[text].encode("latin-1")) if pair[0].lower() == b"etag" and text in self._told else pair
        )


def _length(headers: Headers) -> int | None:
    found = next((value for name, value in headers if name.lower() == b"content-length"), b"")
    return int(found) if found.isdigit() else None


def _coded_headers(headers: Headers, coding: str) -> Headers:
    kept: Headers = [(b"content-encoding", coding.encode())]
    for name, value in headers:
        if name.lower() == b"etag":
            kept.append((name, _marked(value, coding)))
        elif name.lower() not in {b"content-length", b"accept-ranges"}:
            kept.append((name, value))
    return kept


def _marked(value: bytes, coding: str) -> bytes:
    try:
        tag = parse_etag(value.decode("latin-1"))
    except ValueError:
        return value
    return value if tag.weak else str(ETag(f"{tag.opaque}{_MARK}{coding}")).encode("latin-1")


def _without_marks(scope: Scope, codings: Collection[str]) -> tuple[Scope, dict[str, str]]:
    """The scope as the application knows its tags, and how the client wrote them."""
    told: dict[str, str] = {}
    inside = by_bytes_alone(scope)
    if not any(name.lower() in _TAGGED for name, _ in scope["headers"]):
        return inside, told
    headers = [
        (name, _unmarked(value, codings, told)) if name.lower() in _TAGGED else (name, value)
        for name, value in scope["headers"]
    ]
    return (altered(inside, {"headers": headers}) if told else inside), told


def _unmarked(value: bytes, codings: Collection[str], told: dict[str, str]) -> bytes:
    try:
        tags = parse_tags([value.decode("latin-1")])
    except ValueError:
        return value
    if isinstance(tags, str):
        return value
    plain = []
    for tag in tags:
        opaque, mark, coding = tag.opaque.rpartition(_MARK)
        known = ETag(opaque, tag.weak) if mark and coding in codings else tag
        if known is not tag:
            told[str(known)] = str(tag)
        plain.append(str(known))
    return ", ".join(plain).encode("latin-1") if told else value
