"""Hazard 20: another body or path never gets the first answer, and no failure leaves a key stuck.

peers.md, 20: the first answer is replayed for another body or path, and after an exception the key
answers 409 without end.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from sdpatterns import Idempotency
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware

pytestmark = pytest.mark.anyio

KEY = {"Idempotency-Key": '"k"'}


class Store:
    """A backend whose time a test moves on."""

    def __init__(self) -> None:
        self.passed_us = 0
        self.backend = MemoryBackend(clock=Clock(SYSTEM.monotonic, lambda: SYSTEM.now_us() + self.passed_us))


class Shop:
    def __init__(self, store: Store) -> None:
        self.runs = 0
        self.fails = False
        self.hangs = False
        self.app = IdempotencyMiddleware(self.serve, Idempotency("http", store=store.backend.states))
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://shop.example")

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        if self.hangs:
            await asyncio.sleep(3600)
        if self.fails:
            raise OSError("broken")
        body = f"{scope['path']} {(await receive())['body'].decode()} {self.runs}".encode()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})

    async def post(self, path: str = "/pay", body: bytes = b"5") -> httpx.Response:
        return await self.client.post(path, content=body, headers=KEY)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def shop(store: Store) -> Shop:
    return Shop(store)


@pytest.mark.parametrize(("path", "body"), [("/pay", b"6"), ("/refund", b"5"), ("/pay?x=1", b"5")])
async def test_another_body_or_path_is_a_422_and_not_the_first_answer(shop: Shop, path: str, body: bytes) -> None:
    first = await shop.post()
    other = await shop.post(path, body)
    assert (first.status_code, first.text) == (201, "/pay 5 1")
    assert (other.status_code, shop.runs) == (422, 1)
    assert (await shop.post()).content == first.content


async def test_after_an_exception_a_retry_is_carried_out(shop: Shop) -> None:
    shop.fails = True
    assert [(await shop.post()).status_code for _ in range(2)] == [500, 500]
    shop.fails = False
    assert (await shop.post()).text == "/pay 5 3"
    assert (await shop.post()).text == "/pay 5 3"


async def test_after_a_cancellation_a_retry_is_carried_out(shop: Shop) -> None:
    shop.hangs = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await shop.post()
    shop.hangs = False
    assert (await shop.post()).text == "/pay 5 2"


async def test_an_owner_that_died_holds_the_key_for_a_lease_and_no_longer(shop: Shop, store: Store) -> None:
    dead = Idempotency("http", store=store.backend.states)
    request = await _request_of(shop)
    await dead.claim(("", "k"), request)  # and its process is killed: its claim is not released
    refused = await shop.post()
    assert (refused.status_code, refused.headers["retry-after"], shop.runs) == (409, "1", 0)
    store.passed_us = 31_000_000
    assert (await shop.post()).text == "/pay 5 1"


async def _request_of(shop: Shop) -> object:
    """What the middleware takes for the request that `post` sends."""
    from sdpatterns.web.asgi import idempotency

    scopes: list[Any] = []

    async def keep(scope: Any, _receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with httpx.AsyncClient(transport=httpx.ASGITransport(keep), base_url="http://shop.example") as http:
        await http.post("/pay", content=b"5", headers=KEY)
    return idempotency._request(scopes[0], "", [], b"5")  # no Content-Type
