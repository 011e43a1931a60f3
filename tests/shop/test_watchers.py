"""Many who watch the control room, and never let go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from shop.gateway.wiring import WATCHERS_MAX

from .visitor import Visitor

pytestmark = pytest.mark.anyio

WATCHERS = WATCHERS_MAX + 12


@asynccontextmanager
async def watched_by(visitor: Visitor, watchers: int) -> AsyncIterator[None]:
    at = urlsplit(visitor.settings.public)
    lines: list[asyncio.StreamWriter] = []
    try:
        for number in range(watchers):
            own = (f"127.0.4.{number + 1}", 0)  # one client may hold a few only
            _, writer = await asyncio.open_connection(at.hostname, at.port, local_addr=own)
            writer.write(b"GET /control/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            lines.append(writer)
        await asyncio.sleep(2)
        yield
    finally:
        for writer in lines:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def first(lines: AsyncIterator[str], number: int) -> AsyncIterator[str]:
    for _ in range(number):
        yield await anext(lines)


@pytest.mark.nightly
async def test_open_streams_leave_the_control_room_reachable_and_closed_ones_make_room(shared: Visitor) -> None:
    async with asyncio.timeout(240), watched_by(shared, WATCHERS):
        assert (await shared.http.get("/control")).status_code == 200
        assert (await shared.http.get("/control/api/state")).status_code == 200
        assert (await shared.http.put("/control/api/load", json={"visitors": 0})).status_code == 200
        while (bought := await shared.buy()).status_code == 503:  # a busy machine, too, does that for a while
            pass
        assert bought.status_code == 201
    async with asyncio.timeout(120):
        async with shared.http.stream("GET", "/control/live") as stream:
            assert stream.status_code == 200
            assert "event: state" in [line async for line in first(stream.aiter_lines(), 5)]
