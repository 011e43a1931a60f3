"""HTTP/1.1 on one connection, as strict about a request's head as the shop needs it."""

from __future__ import annotations

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shop.headers import RAW

HEAD_MAX_BYTES = 65_536


class StrictHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on a request's head, which uvicorn itself waits for without end.

    Keeps: a head that is not whole after `head_max_s`, or is larger than `HEAD_MAX_BYTES`, ends the
    connection; a request for a whole address, as to a proxy, is one for its path (RFC 9112, 3.2.2);
    HTTP/1.1 without exactly one Host is a 400 (RFC 9112, 3.2).
    """

    head_max_s = 10.0
    _giving_up: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _has_begun = False
    _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a first request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Go on expecting the head until it is whole; another byte does not restart the time."""
        was_in_body = self._in_body
        super().data_received(data)
        if self._has_begun and not self.cycle.response_complete:
            self._expect_no_more()
            return
        if not was_in_body:
            self._head_bytes += len(data)
        if self._head_bytes > HEAD_MAX_BYTES:
            self.transport.close()
        elif self._giving_up is None:  # also for the rest of a body after an early answer
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing."""
        self._expect_no_more()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Check the head before the application answers it; an exception is answered with 400."""
        if not self.url.startswith((b"/", b"*")):
            self._to_origin_form()
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            raise ValueError(f"a request names one host, got {hosts}")
        super().on_headers_complete()
        self._has_begun = self._in_body = True

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that cannot be read, with the headers that every answer has, and close."""
        told = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(msg)), *RAW]
        lines = b"".join(b"%b: %b\r\n" % pair for pair in (*told, (b"connection", b"close")))
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + lines + b"\r\n" + msg.encode("ascii"))
        self.transport.close()

    def on_message_complete(self) -> None:
        """What follows is another head."""
        super().on_message_complete()
        self._in_body = False

    def _to_origin_form(self) -> None:
        httptools.parse_url(self.url)  # raises for what is no address
        rest = self.url.partition(b"://")[2]
        size = next((place for place, byte in enumerate(rest) if byte in b"/?"), len(rest))
        self.url = rest[size:] if rest[size : size + 1] == b"/" else b"/" + rest[size:]
        self.headers[:] = [
            (b"host", rest[:size].rpartition(b"@")[2]),
            *(pair for pair in self.headers if pair[0] != b"host"),
        ]

    def _expect(self) -> None:
        self._giving_up = self.loop.call_later(self.head_max_s, self.transport.close)

    def _expect_no_more(self) -> None:
        self._head_bytes = 0
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
