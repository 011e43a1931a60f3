"""Clients without a network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

Handler = Callable[[Any, Any, Any], Awaitable[None]]


def client(app: Any, **settings: Any) -> httpx.AsyncClient:
    """A client of `app`; an exception of the application arrives as one."""
    transport = httpx.ASGITransport(app, client=("203.0.113.7", 4711), **settings)
    return httpx.AsyncClient(transport=transport, base_url="http://shop.example")


async def answer(
    send: Any, status: int = 200, body: bytes = b"fine", headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    start = [(b"content-length", b"%d" % len(body)), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
