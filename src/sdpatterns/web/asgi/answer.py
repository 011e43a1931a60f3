"""An HTTP answer as it is recorded, stored and sent again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from sdpatterns.coordination.idempotency import Claim
from sdpatterns.errors import BackendError, SdpatternsError
from sdpatterns.web.asgi.protocol import Headers, Message, Send, send_problem
from sdpatterns.web.problems import Problem

__all__ = ["Recorder", "StoredAnswer"]

# Hop-by-hop fields (RFC 9110, 7.6.1) belong to a connection, Date to a moment, a cookie to whoever
# asked first; the server writes the first ones anew.
_LEFT_OUT = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection"
    b" te trailer transfer-encoding upgrade date set-cookie".split()
)


class StoredAnswer(NamedTuple):
    """Status, headers and body; a body of None says that it was carried out and not kept."""

    status: int
    headers: Headers
    body: bytes | None

    def dumped(self) -> list[Any]:
        """Its plain form."""
        headers = [
            [name.decode("latin-1"), value.decode("latin-1")]
            for name, value in self.headers
            if name.lower() not in _LEFT_OUT
        ]
        return [self.status, headers, self.body]

    @classmethod
    def loaded(cls, plain: list[Any]) -> StoredAnswer:
        """What `dumped` gave."""
        status, headers, body = plain
        listed = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return cls(status, listed, body)

    async def send(self, send: Send) -> None:
        """Answer with it."""
        if self.body is None:
            await send_problem(send, _NOT_KEPT)
            return
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


_NOT_KEPT = Problem(
    status=409,
    title="The answer was not kept",
    detail="This request was carried out before; its answer was too large, or a stream, and is not available again.",
)


class Recorder:
    """Stands as `send`: holds the answer back until it is stored, or gives up and lets it pass."""

    def __init__(self, claim: Claim, send: Send, bytes_max: int, stores: Callable[[int], bool]) -> None:
        self._claim = claim
        self._send = send
        self._bytes_max = bytes_max
        self._stores = stores
        self._start: Message | None = None
        self._body = bytearray()
        self._passes = False
        self._complete = False
        self.has_sent = False
        self.client_has_left = False
        self.failure: BackendError | None = None
        """Why the answer could not be stored; raised through the application as well."""

    async def __call__(self, message: Message) -> None:
        """Take one message from the application."""
        if message["type"] == "http.response.start":
            self._start = message
            self._passes = _is_stream(message)
            if self._passes:
                await self._flush(message)
        elif message["type"] == "http.response.body":
            await self._take(message)
        else:
            await self._send(message)

    async def _take(self, message: Message) -> None:
        last = not message.get("more_body", False)
        if not self._passes:
            self._body += message.get("body", b"")
            if len(self._body) > self._bytes_max:
                await self._overflow(last=last)
            elif last:
                await self._finish()
        else:
            if last:
                await self._end(None)
            await self._flush(message)
        self._complete = self._complete or last

    async def _overflow(self, *, last: bool) -> None:
        assert self._start is not None
        self._passes = True
        body = bytes(self._body)
        self._body.clear()
        if last:
            await self._end(None)
        await self._flush(self._start)
        await self._flush({"type": "http.response.body", "body": body, "more_body": not last})

    async def _finish(self) -> None:
        assert self._start is not None
        body = bytes(self._body)
        await self._end(body)
        await self._flush(self._start)
        await self._flush({"type": "http.response.body", "body": body})

    async def _end(self, body: bytes | None) -> None:
        """Store the answer, or free the key where its status says so."""
        assert self._start is not None
        status = self._start["status"]
        if self._stores(status):
            answer = StoredAnswer(status, list(self._start.get("headers", ())), body)
            await self._store(answer)
        else:
            await self._claim.release()

    async def _store(self, answer: StoredAnswer) -> None:
        try:
            await self._claim.store(answer.dumped())
        except BackendError as error:
            self.failure = error
            raise

    async def _flush(self, message: Message) -> None:
        self.has_sent = True
        await self._send(message)

    async def break_off(self) -> bool:
        """Remember as carried out what was cut off: in part sent, or by its client. Else False."""
        if self._complete or self._start is None or not (self._passes or self.client_has_left):
            return False
        with contextlib.suppress(SdpatternsError):
            await self._end(None)
        return True

    async def close(self) -> None:
        """The application has returned; one that never finished its answer frees the key."""
        if not self._complete and not await self.break_off():
            await self._claim.release()


def _is_stream(start: Message) -> bool:
    headers = start.get("headers", ())
    return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)
