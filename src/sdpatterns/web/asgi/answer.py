"""An HTTP answer as it is recorded, stored and sent again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from sdpatterns.coordination.idempotency import Claim
from sdpatterns.core.asking import told
from sdpatterns.errors import AnswerNotKept, BackendError, SdpatternsError
from sdpatterns.web.asgi.protocol import WITHOUT_BYTES, Headers, Message, Send, send_problem
from sdpatterns.web.problems import Problem

__all__ = ["Recorder", "send_stored", "stored_form"]

# Hop-by-hop fields (RFC 9110, 7.6.1) belong to a connection, Date to a moment, a cookie to the
# client that asked first; the server writes the hop-by-hop fields and Date again.
_LEFT_OUT = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection"
    b" te trailer transfer-encoding upgrade date set-cookie".split()
)


def stored_form(status: int, headers: Headers, body: bytes | None) -> list[Any]:
    """The plain form in which an answer is stored; a body of None says that it was carried out and not kept."""
    kept = [
        [name.decode("latin-1"), value.decode("latin-1")] for name, value in headers if name.lower() not in _LEFT_OUT
    ]
    return [status, kept, body]


async def send_stored(answer: list[Any], send: Send) -> None:
    """Answer with what `stored_form` gave."""
    status, headers, body = answer
    if body is None:
        await send_problem(send, _NOT_KEPT)
        return
    listed = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})


_NOT_KEPT = Problem(
    status=409,
    title="The answer was not kept",
    detail="This request was carried out before; its answer was too large, or a stream, and is not available again.",
)


class Recorder:
    """Stands as `send`: holds the answer back until it is stored. A stream passes as it comes, and is stored before
    its last part; one that is too long to be kept gives up on that.
    """

    def __init__(self, claim: Claim, send: Send, bytes_max: int, stores: Callable[[int], bool]) -> None:
        self._claim = claim
        self._send = send
        self._bytes_max = bytes_max
        self._stores = stores
        self._start: Message | None = None
        self._body: bytearray | None = bytearray()
        self._held: list[Message] = []
        self._complete = False
        self.has_sent = False
        self.client_has_left = False
        self.failure: BackendError | None = None
        """Why the answer could not be stored; raised through the application as well."""

    async def __call__(self, message: Message) -> None:
        """Take one message from the application."""
        kind = message["type"]
        if kind == "http.response.start":
            self._start = {**message, "headers": list(message.get("headers", ()))}
            if _is_endless(self._start):
                self._body = None
                await self._begin()
        elif kind == "http.response.body":
            await self._take(message)
        elif kind in WITHOUT_BYTES and self._start is not None:
            # An answer whose bytes only the server sees cannot be kept.
            self._body = None
            await self._take(message)
        else:
            await self._send(message)

    async def _take(self, message: Message) -> None:
        last = not message.get("more_body", False)
        if self._body is not None:
            self._body.extend(message.get("body", b""))
            if len(self._body) > self._bytes_max:
                self._body = None
        if last:
            await self._end(None if self._body is None else bytes(self._body))
        if last or self.has_sent or self._body is None or self._streams():
            await self._begin()
            await self._send(message)
        else:
            self._held.append(message)
        self._complete = self._complete or last

    def _streams(self) -> bool:
        """Whether each part is sent to the client at once: the length of the answer is unknown."""
        assert self._start is not None
        return all(name.lower() != b"content-length" for name, _ in self._start["headers"])

    async def _begin(self) -> None:
        """Send the start, and what of the body was held back."""
        if not self.has_sent:
            assert self._start is not None
            self.has_sent = True
            await self._send(self._start)
            held, self._held = self._held, []
            for message in held:
                await self._send(message)

    async def _end(self, body: bytes | None) -> None:
        """Store the answer, or free the key where the answer says that nothing was decided."""
        assert self._start is not None
        if not self._is_final(self._start):
            await self._claim.release()
            return
        try:
            await self._claim.store(stored_form(self._start["status"], self._start["headers"], body))
        except AnswerNotKept:
            # This client gets it all the same; a later one learns that it was carried out.
            return
        except BackendError as error:
            self.failure = error
            raise

    def _is_final(self, start: Message) -> bool:
        status = start["status"]
        if status >= 400 and any(name.lower() == b"retry-after" for name, _ in start["headers"]):
            return False
        # Where `stores` raises, the work was done all the same.
        return told("stores", self._stores, status, otherwise=True)

    async def break_off(self) -> bool:
        """Remember as carried out what was cut off: in part sent, or by its client. Else False."""
        if self._complete or self._start is None or not (self.has_sent or self.client_has_left):
            return False
        with contextlib.suppress(SdpatternsError):
            await self._end(None)
        return True

    async def close(self) -> None:
        """The application has returned; one that never finished its answer frees the key."""
        if not self._complete and not await self.break_off():
            await self._claim.release()


def _is_endless(start: Message) -> bool:
    for name, value in start["headers"]:
        if value.startswith(b"text/event-stream") and name.lower() == b"content-type":
            return True
    return False
