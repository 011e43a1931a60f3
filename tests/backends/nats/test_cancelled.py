"""A connection that is given up while it is being made, once or twice, is closed."""

from __future__ import annotations

import asyncio

import pytest

from sdpatterns.backends.nats.connection import NatsLink
from sdpatterns.backends.nats.server import NatsServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("turns", [1, 2, 3, 4])
async def test_a_connection_that_is_cancelled_twice_while_it_opens_is_closed(turns: int) -> None:
    accepted = asyncio.get_running_loop().create_future()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result((reader, writer))

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = NatsServer(urls=(f"nats://127.0.0.1:{port}",), prefix="sdp", replicas=1, timeout_s=30.0, options={})
        opening = asyncio.create_task(NatsLink.opened(settings))
        reader, writer = await accepted
        await asyncio.sleep(0.05)  # it waits for the greeting, which does not come
        opening.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with asyncio.timeout(5.0):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
