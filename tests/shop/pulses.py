"""What a replica says of itself, asked again until it is as wanted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = 120.0) -> None:
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - it is watched from outside
            await asyncio.sleep(0.1)


async def pulse(http: httpx.AsyncClient, address: str) -> dict[str, Any]:
    """What a replica says itself; nothing while there is none."""
    found: dict[str, Any] = {"switches": {}, "fault": None}
    with contextlib.suppress(httpx.TransportError):
        found = (await http.get(f"{address}/internal/pulse")).json()
    return found
