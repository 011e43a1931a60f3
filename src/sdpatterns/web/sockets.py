"""Two things that a transport does to a connection from outside, by documented extensions only.

```
connect --> TLS handshake --x cancelled      the socket has no owner yet: close it       (async)
headers --> body ............|.........      the deadline: shut the socket down          (threads)
```
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime.alarm import ALARM
from sdpatterns.errors import DeadlineExceeded

__all__ = ["CutOff", "close_broken_handshakes"]

_BY_TLS = frozenset({"https", "wss"})
_Trace = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class _ClosedHandshakes:
    """A `trace` extension that closes the connection of a TLS handshake that does not succeed.

    httpcore and httpcore2 close it when the handshake fails, and not when it is cancelled.
    """

    __slots__ = ("_also", "_stream")

    def __init__(self, also: _Trace | None) -> None:
        self._also = also
        self._stream: Any = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take part in one step of a request."""
        try:
            if event.endswith((".connect_tcp.complete", ".connect_unix_socket.complete")):
                self._stream = info["return_value"]
            elif event.endswith(".start_tls.failed") and self._stream is not None:
                await self._stream.aclose()
        finally:
            if self._also is not None:
                await self._also(event, info)


def close_broken_handshakes(request: Any) -> None:
    """See to it that a TLS handshake of this async request that is cancelled leaves no socket open."""
    if request.url.scheme not in _BY_TLS:
        return
    also = request.extensions.get("trace")
    if not isinstance(also, _ClosedHandshakes):
        request.extensions = {**request.extensions, "trace": _ClosedHandshakes(also)}


class CutOff:
    """`with` a read of an answer's body that blocks its thread: it ends at the second `until`.

    A thread cannot be interrupted, so the socket is shut down under it. Where the answer did not come
    over a socket of its own, the read itself is not interrupted. Raises `DeadlineExceeded`.
    """

    __slots__ = ("_left_s", "_name", "_response", "_socket", "_until")

    def __init__(self, response: Any, until: float | None, name: str) -> None:
        self._response = response
        self._until = until
        self._name = name
        self._left_s = 0.0
        self._socket: socket.socket | None = None

    def __enter__(self) -> None:
        if self._until is None:
            return
        self._left_s = self._until - SYSTEM.monotonic()
        if self._left_s <= 0:
            raise DeadlineExceeded(self._name, 0.0)
        self._socket = _socket_of(self._response)
        if self._socket is not None:
            ALARM.put_on(self._shut, self._left_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._until is None:
            return
        was_shut = self._socket is not None and not ALARM.take_off(self._shut)
        # The client's own time limit is the same one, and may strike before the alarm does.
        is_late = was_shut or (error is not None and SYSTEM.monotonic() >= self._until)
        if is_late and (error is None or isinstance(error, Exception)):
            raise DeadlineExceeded(self._name, self._left_s) from error

    def _shut(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):
            # The plain socket's method: that of a TLS socket would take its state away from the reader.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _socket_of(response: Any) -> socket.socket | None:
    """The socket that carries this answer alone; None where several share it, or there is none."""
    extensions = response.extensions
    if not bytes(extensions.get("http_version", b"")).startswith(b"HTTP/1"):
        return None
    stream = extensions.get("network_stream")
    found = None if stream is None else stream.get_extra_info("socket")
    return found if isinstance(found, socket.socket) else None
