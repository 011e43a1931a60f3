"""A wire between client and server that a test can cut at a chosen message."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

Cut = Literal["before", "after"]


class Proxy:
    """Forwards TCP to the server in `url`; `url` of its own leads through it.

    `cut("before")` drops the next message of a client and its connection: the server never sees it.
    `cut("after")` lets it through, waits for the answer and drops that instead. `skip` messages
    pass unharmed first. `freeze(after)` keeps connections open and, after so many messages more,
    forwards nothing. A connection that has sent a notification is neither cut nor counted, because
    notifications go out on their own at any time.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        account = parts.netloc.rpartition("@")[0]
        self._parts = parts._replace(netloc=f"{account}@127.0.0.1:{self._listener.getsockname()[1]}")
        self._lock = threading.Lock()
        self._cut: Cut | None = None
        self._skip = 0
        self._freezes_after = 0
        self._thawed = threading.Event()
        self._thawed.set()
        self.sockets: list[socket.socket] = []
        self.cuts = 0

    def url(self, driver: str) -> str:
        return urlunsplit(self._parts._replace(scheme=f"postgresql+{driver}"))

    def cut(self, where: Cut, *, skip: int = 0) -> None:
        with self._lock:
            self._cut, self._skip = where, skip

    def freeze(self, *, after: int = 0) -> None:
        with self._lock:
            self._freezes_after = after
        if not after:
            self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thawed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self.sockets:
            _end(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self.sockets += [client, server]
                armed = threading.Event()
                threading.Thread(target=self._upstream, args=(client, server, armed), daemon=True).start()
                threading.Thread(target=self._downstream, args=(client, server, armed), daemon=True).start()

    def _upstream(self, client: socket.socket, server: socket.socket, armed: threading.Event) -> None:
        notifies = False
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                notifies = notifies or b"pg_notify" in data
                if not notifies:
                    self._count_down()
                self._thawed.wait()
                cut = None if notifies else self._next_cut()
                if cut == "before":
                    break
                if cut == "after":
                    armed.set()
                server.sendall(data)
        _end(client, server)

    def _downstream(self, client: socket.socket, server: socket.socket, armed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                self._thawed.wait()
                if armed.is_set():
                    break
                client.sendall(data)
        _end(client, server)

    def _count_down(self) -> None:
        with self._lock:
            if self._freezes_after:
                self._freezes_after -= 1
                if not self._freezes_after:
                    self._thawed.clear()

    def _next_cut(self) -> Cut | None:
        with self._lock:
            if self._cut is None:
                return None
            if self._skip:
                self._skip -= 1
                return None
            cut, self._cut = self._cut, None
            self.cuts += 1
            return cut


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
