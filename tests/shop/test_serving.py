"""A shop's server and clients that send slowly: bytes on a raw socket."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TypeAlias

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from shop import serving
from shop.fulfilment import defences as fulfilment
from shop.http_protocol import HEAD_MAX_BYTES, StrictHttpProtocol
from shop.ordering import defences as ordering
from shop.stage.pod import ended_within

pytestmark = pytest.mark.anyio

HEAD_MAX_S = 0.4
Line: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def length(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """The port on which an app answers."""
    with serving.bind(0) as listener:
        async with serving.answering({"any": serving.Server("any", app, [listener])}):
            yield listener.getsockname()[1]


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(StrictHttpProtocol, "head_max_s", HEAD_MAX_S)
    async with served(length) as port:
        yield port


@asynccontextmanager
async def line(port: int) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection(serving.HOST, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def hung_up(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(120):
        return await reader.read() == b""


async def test_a_client_that_sends_nothing_is_disconnected(port: int) -> None:
    async with line(port) as (reader, _):
        assert await hung_up(reader)


async def test_another_byte_of_a_head_does_not_restart_the_timer(port: int) -> None:
    async with line(port) as (reader, writer):
        ended = asyncio.create_task(hung_up(reader))
        for byte in b"GET / HTTP/1.1\r\nHost: " + b"a" * 1_000:
            if ended.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(HEAD_MAX_S / 4)
        assert await ended


async def test_the_second_request_of_a_connection_has_the_same_time_limit(port: int) -> None:
    async with line(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"GET / HTTP/1.1\r\n")
        assert await hung_up(reader)


async def test_a_body_may_take_longer(port: int) -> None:
    async with line(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        for byte in b"slow":
            await asyncio.sleep(HEAD_MAX_S / 2)
            writer.write(bytes([byte]))
        assert (await reader.readuntil(b"\r\n\r\n4")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("http://shop.example:8080/a%20b?c=d", "/a b ?c=d shop.example:8080"),
        ("HTTP://shop.example", "/ ? shop.example"),
        ("/http://shop.example/", "/http://shop.example/ ? other"),
        ("http://shop.example?c=d", "/ ?c=d shop.example"),
        ("http://me:secret@shop.example/", "/ ? shop.example"),
    ],
)
async def test_an_absolute_request_target_is_served_by_its_path(target: str, seen: str) -> None:
    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        words = f"{scope['path']} ?{scope['query_string'].decode()} {request.headers['host']}"
        await PlainTextResponse(words)(scope, receive, send)

    async with served(tell) as port, line(port) as (reader, writer):
        writer.write(f"GET {target} HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
    assert answer.partition("\r\n\r\n")[2] == seen


async def test_the_server_keeps_idle_connections_longer_than_its_clients_do() -> None:
    """Else the server closes it in the very moment in which the client takes it up again."""
    with serving.bind(0) as listener:
        served_s = serving.Server("any", length, [listener]).config.timeout_keep_alive
    kept_s = httpx.Limits().keepalive_expiry
    assert kept_s is not None
    assert served_s >= 2 * kept_s


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("http://[::1/", "Host: other"),
        ("/", ""),
        ("/", "Host: a\r\nHost: b"),
        ("/", "Host: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked"),
        ("/", "Host: a\r\nContent-Length: 4\r\nContent-Length: 5"),
        ("/", "Host: a\r\n folded"),
        ("/", "Host : a"),
    ],
)
async def test_a_head_that_two_servers_may_read_differently_is_not_answered(
    port: int, target: str, headers: str
) -> None:
    async with line(port) as (reader, writer):
        writer.write(f"POST {target} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 400")


async def test_a_head_without_an_end_is_given_up_before_it_fills_the_memory(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StrictHttpProtocol, "head_max_s", 600.0)  # so that it is not its time that ends it
    async with line(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nPadding: " + b"a" * HEAD_MAX_BYTES)
        assert await reader.read() == b""


async def test_a_server_that_has_ended_keeps_no_connection_of_a_request_that_took_too_long() -> None:
    began = asyncio.Event()

    async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
        began.set()
        await asyncio.Event().wait()

    with serving.bind(0) as listener:
        server = serving.Server("psp", never, [listener])
        async with serving.answering({"psp": server}), line(listener.getsockname()[1]) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await began.wait()
            await server.drain()
            assert not server.server_state.connections
            assert (await reader.readline()).startswith(b"HTTP/1.1 500")
            await reader.read()  # ends


async def test_a_server_ends_at_once_and_not_with_its_next_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_TICK_S", 3600.0)
    async with served(length) as port, line(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")


async def test_a_stream_is_told_that_its_server_ends_and_is_not_cut_off() -> None:
    async def stream(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await scope["state"][serving.ENDING].wait()
        await send({"type": "http.response.body", "body": b"last"})

    with serving.bind(0) as listener:
        server = serving.Server("any", stream, [listener])
        async with serving.answering({"any": server}), line(listener.getsockname()[1]) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"first\r\n")
            await server.drain()
            assert (await reader.read()).endswith(b"4\r\nlast\r\n0\r\n\r\n")


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_a_request_that_has_arrived_when_its_server_ends_is_answered() -> None:
    """On a busy machine the loop has not looked at it yet: on a connection that is kept, or on one not yet accepted."""
    with serving.bind(0) as listener:
        server = serving.Server("any", length, [listener])
        async with serving.answering({"any": server}), line(listener.getsockname()[1]) as (reader, writer):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n0")
            # From here on the loop does not run before the server is told to end.
            writer.write(REQUEST)
            with socket.create_connection(listener.getsockname()) as fresh:
                fresh.sendall(REQUEST)
                await server.drain()
                assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
                fresh.settimeout(60)
                assert fresh.recv(1_000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("name", "defences"), [("ordering", ordering), ("fulfilment", fulfilment)])
def test_the_time_to_end_covers_what_runs_beside_the_requests(name: str, defences: ModuleType) -> None:
    """A pod is killed after its grace period, and a process by its supervisor: both are computed from `ends_s`."""
    written = re.findall(r"drain_s=([\w.]+)", inspect.getsource(defences))
    assert written
    took_s = sum(getattr(defences, word) if word.isidentifier() else float(word) for word in written)
    assert serving.ends_s(name) == serving.drain_s(name) + took_s
    services = inspect.getsource(defences).count("service=") + inspect.getsource(defences).count("Projection(")
    assert len(written) == services, "each has a time of its own: the default is 30 s"


async def test_a_pod_that_does_not_end_says_at_what_it_waits(caplog: pytest.LogCaptureFixture) -> None:
    """Without it the kubelet's SIGKILL would be the end, which leaves nothing in the log."""

    async def hangs() -> None:
        await asyncio.Event().wait()

    serving_task = asyncio.create_task(hangs())
    assert not await ended_within(serving_task, 0.01)
    assert "hangs" in str(caplog.records[-1].__dict__["waiting"])
    await asyncio.wait((serving_task,))
    assert await ended_within(asyncio.create_task(asyncio.sleep(0)), 60.0)
