"""Redis over TLS. The server of the wheel has none, so a relay in front of it ends the TLS connection."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import trustme

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Add


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return  # an end that was cut off ends both ways
    finally:
        writer.transport.abort()


@contextlib.contextmanager
def relay(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """The port of a TLS server that passes everything on to the plain one."""
    listens: Future[int] = Future()
    ended = threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, forth), pump(back, writer))

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            listens.set_result(server.sockets[0].getsockname()[1])
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield listens.result(60.0)
    finally:
        ended.set()
        thread.join()


async def outcome(backend: RedisBackend) -> str:
    """What became of a first use: "works", or the words of the refusal."""
    async with backend:
        try:
            await backend.create()
        except BackendUnavailable as refused:
            return str(refused)
        async with backend.signals.subscribe("tls") as subscription:
            await backend.signals.notify("tls")
            assert await subscription.wait(60.0)
        await backend.states.cells(Space("tls", IntegersCodec())).transact(secrets.token_hex(4), Add())
    return "works"


@pytest.mark.parametrize("blocking", [True, False])
def test_a_server_over_tls_is_used_only_where_its_certificate_is_trusted(
    valkey_url: str, tmp_path: Path, *, blocking: bool
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    run = finish if blocking else asyncio.run
    with relay(int(valkey_url.rsplit(":", 1)[1]), context) as port:
        url = f"rediss://127.0.0.1:{port}"
        trusted = f"{url}?ssl_ca_certs={tmp_path / 'authority.pem'}"
        ends = [
            run(outcome(RedisBackend(address, blocking=blocking, timeout_s=60.0, warns_of_loss=False)))
            for address in (trusted, url)
        ]
    assert ends[0] == "works"
    assert "certificate" in ends[1].lower()
    assert url in ends[1]
