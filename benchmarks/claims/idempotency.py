"""What becomes of a request that is sent again with its Idempotency-Key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from idempotency_header_middleware import IdempotencyHeaderMiddleware
from idempotency_header_middleware.backends.memory import MemoryBackend as HeaderBackend
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, Router

from sdpatterns import Idempotency
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware

MAKERS: dict[str, Callable[[Any], Any]] = {
    "sdpatterns": lambda app: IdempotencyMiddleware(app, Idempotency("claims", store=MemoryBackend().states)),
    "asgi-idempotency-header": lambda app: IdempotencyHeaderMiddleware(app, HeaderBackend()),
}


class Till:
    """An application that counts what it did, slowly, and fails when it is told to."""

    def __init__(self) -> None:
        self.sold = 0
        self.fails = False

    async def sell(self, request: Request) -> JSONResponse:
        body = await request.json()
        await asyncio.sleep(0.02)
        if self.fails:
            raise RuntimeError("the till is broken")
        self.sold += 1
        return JSONResponse({"sold": body["what"], "number": self.sold}, 201)


def client_of(make: Callable[[Any], Any], till: Till) -> httpx.AsyncClient:
    routes = [Route(path, till.sell, methods=["POST"]) for path in ("/tea", "/coffee")]
    transport = httpx.ASGITransport(make(Router(routes)), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://till.example")


KEY = {"Idempotency-Key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}


async def other_body(make: Callable[[Any], Any]) -> str:
    async with client_of(make, Till()) as client:
        await client.post("/tea", json={"what": "tea"}, headers=KEY)
        other = await client.post("/tea", json={"what": "a whole chest of tea"}, headers=KEY)
    return f"{other.status_code}" + (" with the first answer" if other.is_success else "")


async def other_path(make: Callable[[Any], Any]) -> str:
    async with client_of(make, Till()) as client:
        await client.post("/tea", json={"what": "tea"}, headers=KEY)
        other = await client.post("/coffee", json={"what": "tea"}, headers=KEY)
    return f"{other.status_code}" + (" with the first answer" if other.is_success else "")


async def after_a_failure(make: Callable[[Any], Any]) -> str:
    till = Till()
    async with client_of(make, till) as client:
        till.fails = True
        await client.post("/tea", json={"what": "tea"}, headers=KEY)
        till.fails = False
        again = await client.post("/tea", json={"what": "tea"}, headers=KEY)
    return f"{again.status_code}"


async def twice_at_once(make: Callable[[Any], Any]) -> str:
    till = Till()
    async with client_of(make, till) as client:
        both = await asyncio.gather(*(client.post("/tea", json={"what": "tea"}, headers=KEY) for _ in range(2)))
    statuses = " and ".join(sorted(str(answer.status_code) for answer in both))
    return f"sold {till.sold}: {statuses}"
