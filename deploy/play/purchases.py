"""Customers who buy at their own pace through the gateway's ready pods, and what they saw."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2

from sdpatterns import Retry
from sdpatterns.testing.load import LoadResult, LoadStage, Profile, run_load
from shop.round_robin import RoundRobinTransport

PER_S = 3.0
PLENTY = [f"SP-{number:05}" for number in range(40, 400, 7)]


class PurchaseFailed(Exception):
    """A customer has been told that there will be no order."""


class NoAnswer(Exception):
    """The shop gave no answer, or one that asks to come again."""

    def __init__(self, why: str, retry_after_s: float | None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


# Later each time: customers who all press again at once would keep a busy shop busy.
_AGAIN = Retry(on=NoAnswer, attempts_max=20, base_s=1.0, max_s=15.0, timeout_s=120.0, idempotent=True)


class Customers:
    """Purchases at an open loop's pace: a cart is filled, then paid; a request without an answer is pressed again.

    Keeps: pressing again has the same key, so a purchase is charged once. `failed` counts each request that had to be.
    """

    def __init__(self, gateways: Callable[[], Sequence[str]]) -> None:
        self.failed: Counter[str] = Counter()
        self.bought = 0
        self._numbers = itertools.count()
        transport = RoundRobinTransport(gateways, httpx2.AsyncHTTPTransport())
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://shop", timeout=40.0)

    async def buy(self, number: int) -> None:
        """One purchase."""
        name = f"play-{uuid4().hex[:12]}"
        sku = PLENTY[number % len(PLENTY)]
        await self._pressed("PUT", f"/api/v1/carts/{name}/items/{sku}", {"quantity": 1}, {})
        answer = await self._pressed("POST", "/api/v1/checkout", _checkout(name), {"Idempotency-Key": f'"{name}"'})
        if answer.status_code != 201:
            raise PurchaseFailed(f"{answer.status_code}: {answer.text[:200]}")
        self.bought += 1

    async def _pressed(self, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx2.Response:
        """The answer; one that asks to come again is asked for again, later each time, as customers do."""

        async def press() -> httpx2.Response:
            try:
                answer = await self.http.request(method, path, json=body, headers=headers)
            except httpx2.TransportError as error:
                raise self._again(method, path, type(error).__name__) from None
            if answer.status_code >= 429:
                raise self._again(method, path, _refusal(answer), answer.headers.get("retry-after", ""))
            return answer

        return await _AGAIN.call(press)

    def _again(self, method: str, path: str, why: str, told: str = "") -> NoAnswer:
        print(f"    {datetime.now(UTC):%H:%M:%S.%f} {method} {path}: {why}", flush=True)
        self.failed[f"{method} {path.split('/')[3]} {why}"] += 1
        return NoAnswer(why, float(told) if told.isdigit() else None)

    async def during(self, work: Callable[[], Awaitable[Any]], per_s: float) -> LoadResult:
        """Buy all the time while this work is done."""
        result = LoadResult()

        async def one(_number: int) -> None:
            began_s, error = time.monotonic(), None
            try:
                await self.buy(next(self._numbers))
            except Exception as raised:  # noqa: BLE001 - whatever it is, the customer has no order
                error = raised
            result.add(time.monotonic() - began_s, error)

        # The work may take any time, so a second of load is begun each second, whether or not the last one has ended.
        began: list[asyncio.Task[LoadResult]] = []
        working = asyncio.ensure_future(work())
        try:
            while not working.done():
                began.append(asyncio.create_task(run_load(one, Profile(LoadStage(1.0, per_s)), seed=len(began))))
                await asyncio.wait([working], timeout=1.0)
            await asyncio.gather(*began)
            await working
        finally:
            for task in (working, *began):
                task.cancel()
            await asyncio.gather(working, *began, return_exceptions=True)
        return result

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()


def _refusal(answer: httpx2.Response) -> str:
    """What an answer says: its status, and the words of its problem."""
    try:
        return f"{answer.status_code} {answer.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return str(answer.status_code)


def _checkout(cart: str) -> dict[str, Any]:
    address = {"name": "Ada", "line1": "1 Row", "city": "London", "postcode": "N1", "country": "GB"}
    card = {"number": "4242424242424242", "expiry": "12/30", "cvc": "123"}
    return {"cart_id": cart, "email": "ada@example.org", "address": address, "card": card}
