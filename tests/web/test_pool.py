"""The pool of single connections: who gets one, who waits, and when a free one is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from sdpatterns import Timeout, with_deadline
from sdpatterns.errors import DeadlineExceeded
from sdpatterns.web import httpx as for_httpx
from sdpatterns.web import httpx2 as for_httpx2
from sdpatterns.web.connections import LentStream, Slots
from tests.loops import each_virtual_loop, on_virtual_asyncio

from .wire import Wire, wired

pytestmark = pytest.mark.anyio


anyio_backend = each_virtual_loop


class Body:
    """A body of one piece that fails to close where it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"body"

    async def aclose(self) -> None:
        if self._fails:
            raise OSError("cannot close")


class Connection:
    """A transport that counts, and whose answers take as long as their path says."""

    made: list[Connection]

    def __init__(self) -> None:
        self.requests = 0
        self.closed = False
        Connection.made.append(self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if request.url.path == "/fails":
            raise httpx.ConnectError("refused")
        await anyio.sleep(float(request.url.params.get("s", "0")))
        response = httpx.Response(200)
        response.stream = Body(fails=request.url.path == "/unclosable")  # type: ignore[assignment]
        return response

    async def aclose(self) -> None:
        self.closed = True
        await anyio.lowlevel.checkpoint()


def slots(slots_max: int = 2, idle_max: int | None = 2, idle_s: float | None = 5.0) -> Slots:
    Connection.made = []
    return Slots(
        Connection, slots_max=slots_max, idle_max=idle_max, idle_s=idle_s, too_late=httpx.PoolTimeout, lent=LentStream
    )


async def ask(pool: Slots, url: str = "http://a.example/", pool_s: float | None = None) -> None:
    request = httpx.Request("GET", url, extensions={"timeout": {"pool": pool_s}})
    answer = await pool.send(request)
    assert b"".join([chunk async for chunk in answer.stream]) == b"body"
    await answer.stream.aclose()


def open_now() -> int:
    return sum(not connection.closed for connection in Connection.made)


async def test_one_after_another_shares_a_connection_and_an_origin_of_its_own_does_not() -> None:
    pool = slots()
    for _ in range(3):
        await ask(pool)
    await ask(pool, "http://b.example/")
    await ask(pool, "http://a.example:8080/")
    assert [connection.requests for connection in Connection.made] == [3, 1, 1]
    assert open_now() == 2, "the connection that was free for longest made room"
    await pool.aclose()
    assert open_now() == 0


async def test_who_waits_is_served_in_order_within_the_pools_time() -> None:
    pool, order, said = slots(slots_max=1), list[int](), list[str]()

    async def one(number: int) -> None:
        try:
            await ask(pool, "http://a.example/?s=1", pool_s=2.5)
            order.append(number)
        except httpx.PoolTimeout as late:
            order.append(-number)
            said.append(str(late))

    async with anyio.create_task_group() as tasks:
        for number in range(1, 5):
            tasks.start_soon(one, number)
            await anyio.sleep(0.01)
    assert order == [1, 2, -4, 3]
    assert "raise max_connections" in said[0]
    assert len(Connection.made) == 1


async def test_a_free_connection_is_closed_when_it_is_old_or_one_too_many() -> None:
    pool = slots(slots_max=3, idle_max=2, idle_s=5.0)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask, pool, "http://a.example/?s=1")
    assert open_now() == 2
    await anyio.sleep(6.0)
    await ask(pool, "http://b.example/")
    assert open_now() == 1
    keeps = slots(idle_max=None, idle_s=None)
    await ask(keeps)
    await anyio.sleep(3600.0)
    await ask(keeps)
    assert len(Connection.made) == 1


async def test_a_connection_is_closed_with_a_request_that_failed_was_left_or_cancelled() -> None:
    pool = slots(slots_max=1)
    with pytest.raises(httpx.ConnectError):
        await ask(pool, "http://a.example/fails")
    with pytest.raises(OSError, match="cannot close"):
        await ask(pool, "http://a.example/unclosable")
    with anyio.move_on_after(0.5):
        await ask(pool, "http://a.example/?s=60")
    left = await pool.send(httpx.Request("GET", "http://a.example/"))
    await left.stream.aclose()
    await left.stream.aclose()
    assert [connection.closed for connection in Connection.made] == [True] * 4
    await ask(pool)
    assert open_now() == 1


async def test_what_is_in_use_is_closed_with_the_pool() -> None:
    pool = slots()
    answer = await pool.send(httpx.Request("GET", "http://a.example/"))
    await pool.aclose()
    assert open_now() == 0
    assert [chunk async for chunk in answer.stream] == [b"body"]
    await answer.stream.aclose()
    await ask(pool)


async def test_room_is_made_by_a_request_that_is_cancelled_meanwhile() -> None:
    pool = slots(slots_max=1)
    await ask(pool)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ask(pool, "http://b.example/")
    assert open_now() == 0
    await ask(pool, "http://b.example/")
    assert open_now() == 1


@on_virtual_asyncio
async def test_all_that_are_too_old_are_closed_by_a_task_that_is_cancelled_twice(anyio_backend: Any) -> None:
    pool = slots(slots_max=4, idle_max=4)
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(ask, pool, "http://a.example/?s=1")
    await anyio.sleep(6.0)
    task = asyncio.ensure_future(ask(pool, "http://b.example/"))
    for _ in range(10):
        if open_now() < 4:  # it has begun to close them
            break
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_now() == 0


LIBRARIES = [pytest.param(http, ours, id=http.__name__) for http, ours in ((httpx, for_httpx), (httpx2, for_httpx2))]
real = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@real
@pytest.mark.parametrize(("http", "ours"), LIBRARIES)
async def test_on_a_real_socket_the_pool_stands_alone_or_behind_a_transport(
    http: Any, ours: Any, anyio_backend: str
) -> None:
    events: list[str] = []

    async def trace(event: str, info: Any) -> None:
        events.append(event)

    options = [(6, 1, 1)]  # TCP_NODELAY
    part = Timeout(5.0, name="wire")
    async with wired(Wire()) as url:
        async with http.AsyncClient(transport=ours.AsyncPool(socket_options=options), base_url=url) as client:
            assert [(await client.get("/fine")).text for _ in range(2)] == ["fine"] * 2
        async with http.AsyncClient(transport=ours.AsyncTransport(part), base_url=url) as client:
            assert (await client.get("/fine")).text == "fine"
            with pytest.raises(DeadlineExceeded), with_deadline(0.1):
                # The server speaks no TLS and waits. What the user's own trace hears stays what it was.
                await client.get(url.replace("http:", "https:"), extensions={"trace": trace})
    assert events[-1].endswith("start_tls.failed")


@real
@pytest.mark.parametrize(("http", "ours"), LIBRARIES)
async def test_a_connection_that_speaks_another_protocol_is_held_until_its_answer_is_left(
    http: Any, ours: Any, anyio_backend: str
) -> None:
    wire = Wire()
    pool = ours.AsyncPool(limits=http.Limits(max_connections=1))
    transport = ours.AsyncTransport(Timeout(5.0, name="wire"), inner=pool)
    async with wired(wire) as url, http.AsyncClient(transport=transport, base_url=url) as client:
        asked = {"connection": "upgrade", "upgrade": "echo"}
        async with client.stream("GET", "/upgrade", headers=asked) as answer:
            assert answer.status_code == 101
            stream = answer.extensions["network_stream"]
            await stream.write(b"hello")
            assert await stream.read(100, timeout=60.0) == b"hello"
        await asyncio.wait_for(wire.upgraded_ended.wait(), 60.0)
        assert (await client.get("/fine")).text == "fine"
