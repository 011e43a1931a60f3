"""Many threads on one `httpx.Client`: httpcore 1.0.9 closes connections that it has just lent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from sdpatterns import Pipeline, Retry
from sdpatterns.web.httpx import Transport

THREADS = 30
"""More than the 20 connections that httpx keeps open."""


class Server(ThreadingHTTPServer):
    """Answers so many requests together, and counts connections."""

    daemon_threads = True
    request_queue_size = 2 * THREADS

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.together = threading.Barrier(THREADS)
        self.connections = 0

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.together.wait(60)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def connections_for_two_rounds(client: httpx.Client, server: Server) -> int:
    """How many are opened while all threads ask at once, and then once more."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(2):
            answers = list(pool.map(client.get, [f"http://127.0.0.1:{server.server_port}/"] * THREADS))
            assert {answer.status_code for answer in answers} == {204}
    return server.connections


def test_no_free_connection_is_closed_before_it_expires() -> None:
    transport = Transport(Pipeline(Retry(on=httpx.TransportError), name="any"))
    with serving() as server, httpx.Client(transport=transport, timeout=60) as client:
        assert connections_for_two_rounds(client, server) == THREADS
