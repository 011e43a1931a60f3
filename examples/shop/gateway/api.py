"""The public API: each path forwarded to the service that answers it, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sdpatterns.errors import BulkheadFull
from sdpatterns.web.asgi.protocol import client_address
from shop.bodies import read_body
from shop.gateway import openapi, versions
from shop.gateway.defences import STREAMS_EACH, stream_limit
from shop.gateway.service import Storefront
from shop.problems import Problem, not_found
from shop.service_client import segment
from shop.serving import ENDING
from shop.validation import is_card_number

_STREAM_AGAIN_S = 5.0
_PASSED_ON = frozenset({b"accept", b"content-type", b"idempotency-key"})
_PASSED_BACK = ("content-type", "retry-after", "location", "idempotent-replayed", "etag", "cache-control", "allow")


def routes(storefront: Storefront) -> list[Route]:
    """The gateway's API routes."""

    def forward(name: str) -> Callable[[Request], Any]:
        async def handler(request: Request) -> Response:
            return await _forward(storefront, name, request)

        return handler

    def relay(name: str) -> Callable[[Request], Any]:
        async def handler(request: Request) -> Response:
            return await _relay(storefront, name, request)

        return handler

    return [
        *openapi.routes(),
        *versions.routes(storefront),
        Route("/api/v1/carts/{cart_id}", forward("cart")),
        Route("/api/v1/carts/{cart_id}/items/{sku}", forward("cart"), methods=["PUT", "DELETE"]),
        Route("/api/v1/checkout", forward("ordering"), methods=["POST"]),
        Route("/api/v1/orders/{order_id}", forward("ordering")),
        Route("/api/v1/orders/{order_id}/cancel", forward("ordering"), methods=["POST"]),
        Route("/api/v1/orders/{order_id}/return", forward("ordering"), methods=["POST"]),
        Route("/control", relay("control"), methods=_ALL),
        Route("/control/live", _Streams(relay("live")), methods=["GET"]),
        Route("/control/{path:path}", relay("control"), methods=_ALL),
        Route("/psp/v1/charges", forward("psp")),
        Route("/mail/v1/messages", forward("mail")),
    ]


_ALL = ["GET", "PUT", "POST", "DELETE"]
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "x-correlation-id"})


class _Relayed(StreamingResponse):
    """An answer passed on as it comes; its connection is closed whichever side leaves first."""

    def __init__(self, answer: httpx2.Response) -> None:
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP_BY_HOP}
        super().__init__(answer.aiter_raw(), answer.status_code, kept)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()


class _Streams:
    """Answers that go on for long: a few at a time for each client."""

    def __init__(self, handler: Callable[[Request], Awaitable[Response]]) -> None:
        self._handler = handler
        self._slots = stream_limit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._slots.guard(client_address(scope)):
                answer = await self._handler(Request(scope, receive))
                if isinstance(answer, StreamingResponse):
                    answer.body_iterator = _until(scope["state"][ENDING], answer.body_iterator)
                await answer(scope, receive, send)
        except BulkheadFull:
            detail = f"You have {STREAMS_EACH} open streams already; close one."
            raise Problem(429, "too-many-streams", detail, retry_after_s=_STREAM_AGAIN_S) from None


async def _until(ending: asyncio.Event, chunks: AsyncIterable[Any]) -> AsyncIterator[Any]:
    """What comes before this server is to end, which would wait for a stream that goes on, or the other side is lost.

    A page whose stream ends connects again by itself. To it a stream that breaks off is an error.
    """
    with suppress(httpx2.HTTPError):
        async for chunk in chunks:
            yield chunk
            if ending.is_set():
                return


async def _relay(storefront: Storefront, name: str, request: Request) -> Response:
    """A whole corner of the site that another service serves, streams included."""
    body = await read_body(request) if request.method in ("POST", "PUT") else None
    headers = _passed_on(request)
    target = _target(request)
    if "/../" in f"{target}/":
        raise not_found("such page")
    return _Relayed(await storefront.services[name].stream(request.method, target, body=body, headers=headers))


def _passed_on(request: Request) -> list[tuple[bytes, bytes]]:
    """The headers that the services get. A key is stored as long as its answer: no card's number may be in it."""
    if any(is_card_number(key) for key in request.headers.getlist("idempotency-key")):
        raise Problem(400, "idempotency-key", "An Idempotency-Key must not be a card number.")
    return [(name, value) for name, value in request.headers.raw if name in _PASSED_ON]


def _target(request: Request) -> str:
    raw: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")


async def _forward(storefront: Storefront, name: str, request: Request) -> Response:
    for name_in_path in request.path_params.values():
        segment(name_in_path)  # a client behind us would walk the dots in it
    body = await read_body(request) if request.method in ("POST", "PUT") else None
    headers = _passed_on(request)
    answer = await storefront.services[name].send(request.method, _target(request), body=body, headers=headers)
    kept = {header: answer.headers[header] for header in _PASSED_BACK if header in answer.headers}
    return Response(answer.content, answer.status_code, kept)
