"""WSGI applications with and without a server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

import httpx
from waitress.server import create_server

THREADS = 8


def client(app: Any, **settings: Any) -> httpx.Client:
    """A client of `app`, with a validator on either side; an exception arrives as one."""
    transport = httpx.WSGITransport(validator(app), remote_addr="203.0.113.7", **settings)
    return httpx.Client(transport=transport, base_url="http://shop.example")


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """`app` behind a real server with eight threads on a free port of the loopback; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = create_server(app, sockets=[listener], threads=THREADS, clear_untrusted_proxy_headers=True)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.trigger.pull_trigger(server.close)
        server.task_dispatcher.shutdown(timeout=5)
        thread.join(60)
        assert not thread.is_alive()
