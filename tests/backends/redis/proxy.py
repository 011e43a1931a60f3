"""A TCP proxy on loopback that loses a command on its way, or its reply on the way back."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal, Self
from urllib.parse import urlsplit

Fault = Literal["before", "after", "frozen"]


class FaultProxy:
    """Passes bytes on until a fault is armed.

    `before`: the command is swallowed and the connection cut; the server never sees it.
    `after`: the command reaches the server, the connection is cut when the reply comes.
    `frozen`: the command is swallowed and nothing more is heard.
    """

    def __init__(self, server_url: str) -> None:
        place = urlsplit(server_url)
        self._server = (place.hostname, place.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}"
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._marker = b""
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.connections = 0
        self.struck = 0

    def arm(self, *faults: Fault, on: bytes = b"EVALSHA") -> None:
        """Strike the next commands that contain `on`, one fault each."""
        with self._lock:
            self._faults, self._marker = list(faults), on

    def cut(self) -> None:
        """Cut all connections now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(*pair)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A thread in accept() is only woken by the socket's end, not by its closing.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._pairs.append((client, server))
            losing = threading.Event()
            for source, sink, there in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, losing, there), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, losing: threading.Event, there: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                fault = self._struck_by(data) if there else None
                if fault == "before" or (not there and losing.is_set()):
                    break
                if fault == "frozen":
                    continue
                if fault == "after":
                    losing.set()
                sink.sendall(data)
        _end(source, sink)

    def _struck_by(self, data: bytes) -> Fault | None:
        with self._lock:
            if not self._faults or self._marker not in data:
                return None
            self.struck += 1
            return self._faults.pop(0)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
