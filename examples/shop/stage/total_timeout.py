"""An HTTP client whose time limit is for a whole call: httpx limits each phase and each read of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2


class TotalTimeoutClient(httpx2.AsyncClient):
    """Calls the shop as a browser would, without trace and deadline.

    Keeps: a call ends within its `timeout`, its body included, also where the server sends a byte now and then.
    Fails with httpx2.ReadTimeout when that time is up.
    """

    async def send(self, request: httpx2.Request, **how: Any) -> httpx2.Response:
        """Send a request and read its answer within the request's `timeout`."""
        limit_s: float = request.extensions["timeout"]["read"]
        try:
            async with asyncio.timeout(limit_s):
                return await super().send(request, **how)
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no whole answer within {limit_s:g} s", request=request) from None
