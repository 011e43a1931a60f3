"""Calls between services meet connections that broke: a server that closed an idle one, or went away."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from anyio.abc import ByteReceiveStream, SocketAttribute, SocketStream

from shop.round_robin import LEAVES_S, RoundRobinTransport
from shop.service_client import ServiceClient

pytestmark = pytest.mark.anyio

URLS = ("http://leaving", "http://staying")
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Hangs:
    """A server that closes the connection of the first `times` requests unanswered, and then answers."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked = 0

    async def __call__(self, stream: SocketStream) -> None:
        async with stream:
            while await _request(stream):
                self.asked += 1
                if self.asked <= self.times:
                    return
                await stream.send(ANSWER)


async def _request(stream: ByteReceiveStream) -> bool:
    held = b""
    try:
        while b"\r\n\r\n" not in held:
            held += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return False
    return True


@asynccontextmanager
async def asking(server: Hangs) -> AsyncIterator[httpx2.AsyncClient]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server)
        url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        async with httpx2.AsyncClient(
            transport=RoundRobinTransport(lambda: (url,), httpx2.AsyncHTTPTransport()), base_url=url
        ) as client:
            yield client
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_broken_connection_to_the_only_replica_is_made_again(method: str) -> None:
    server = Hangs(1)
    async with asking(server) as client:
        assert (await client.request(method, "/")).status_code == 200
    assert server.asked == 2


async def test_a_broken_connection_is_opened_again_only_once() -> None:
    server = Hangs(5)
    async with asking(server) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/")
    assert server.asked == 2


async def test_a_request_that_may_not_be_repeated_is_sent_once() -> None:
    server = Hangs(1)
    async with asking(server) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.post("/")
    assert server.asked == 1


async def test_a_request_with_an_idempotency_key_is_repeated_as_it_is() -> None:
    """So a checkout survives the end of the replica that it was sent to, and so does each step of its saga."""
    server = Hangs(1)
    async with asking(server) as client:
        answer = await client.post("/", json={"quantity": 1}, headers={"Idempotency-Key": '"a"'})
    assert (answer.status_code, server.asked) == (200, 2)


class Replicas:
    """Two replicas, of which one says with each answer that it closes the connection; counts who was asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked[request.url.host] += 1
        return httpx2.Response(200, headers={"connection": "close"} if request.url.host == "leaving" else {})


async def test_a_replica_that_is_leaving_is_asked_nothing_more_while_it_drains() -> None:
    """Each further request to it could be on its way in the moment in which it closes its port."""
    replicas, time_s = Replicas(), [1_000.0]
    transport = RoundRobinTransport(lambda: URLS, httpx2.MockTransport(replicas), now_s=lambda: time_s[0])
    async with httpx2.AsyncClient(base_url="http://any", transport=transport) as client:
        while time_s[0] < 1_000.0 + LEAVES_S:
            await client.get("/")
            time_s[0] += 0.25
        assert replicas.asked == {"leaving": 1, "staying": 19}
        time_s[0] += LEAVES_S
        await client.get("/")
        await client.get("/")
    assert replicas.asked["leaving"] == 2, "another process may answer there by now"


async def test_a_replica_that_is_leaving_is_asked_where_there_is_no_other() -> None:
    replicas = Replicas()
    transport = RoundRobinTransport(lambda: URLS[:1], httpx2.MockTransport(replicas))
    async with httpx2.AsyncClient(base_url="http://any", transport=transport) as client:
        codes = [(await client.get("/")).status_code for _ in range(3)]
    assert (codes, replicas.asked) == ([200] * 3, {"leaving": 3})


async def test_a_path_that_begins_with_two_slashes_reaches_a_service_as_it_is() -> None:
    seen: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.url.raw_path)
        return httpx2.Response(200)

    async with httpx2.AsyncClient(base_url="http://catalog:1", transport=httpx2.MockTransport(answer)) as client:
        service = ServiceClient("catalog", client)
        for path in ("//evil/x?a=1", "/x?a=%20b", "/x?a=%20b"):
            await service.send("GET", path)
    assert seen == [b"//evil/x?a=1", b"/x?a=%20b", b"/x?a=%20b"]
