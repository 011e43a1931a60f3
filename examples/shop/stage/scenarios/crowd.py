"""People: each has an address, a basket and a key of their own, and knows the shop from outside alone."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from shop.background import together
from shop.plain_http import no_authority
from shop.stage.total_timeout import TotalTimeoutClient

_WORDS = ("lamp", "oak", "teapot", "wool", "radio", "brass", "mug", "linen")
_PATIENCE_S = 40.0  # for one call, its body included
_THINKS_S = (0.4, 1.6)
_BUYS = 0.12  # of the rounds that a visitor of the load makes
_PRODUCTS = range(20, 4_000)  # what they buy: no drops, and little of each
_WAIT_MAX_S = 3.0
_LOOKS_S = 0.5
_LOOPBACK = re.compile(r"^(127\.[\d.]+|localhost)$")
_BEHIND_MAX_S = 1.0  # a greedy client that had to wait for answers makes up for that time, but not for more


def address(number: int, url: str) -> str | None:
    """A loopback address for one customer of a shop that listens there, where the system has more than one."""
    if not _LOOPBACK.match(urlsplit(url).hostname or ""):
        return None  # from a loopback address nothing reaches another machine, or another pod
    candidate = f"127.0.{1 + number // 250}.{1 + number % 250}"
    with socket.socket() as probe:
        try:
            probe.bind((candidate, 0))
        except OSError:
            return None
    return candidate


@dataclass
class CrowdResult:
    """How a crowd fared."""

    people: int = 0
    bought: int = 0
    sold_out: int = 0
    unpaid: int = 0
    limited: int = 0
    lost: int = 0
    orders: set[str] = field(default_factory=set)
    extra: set[str] = field(default_factory=set)
    took_s: list[float] = field(default_factory=list)
    presses: int = 0
    searches: int = 0

    def view(self) -> dict[str, Any]:
        """The figures that an expectation may name."""
        took_s = sorted(self.took_s)
        return {
            "people": self.people,
            "bought": self.bought,
            "sold_out": self.sold_out,
            "unpaid": self.unpaid,
            "limited": self.limited,
            "lost": self.lost,
            "others": self.people - self.bought,
            "half": self.people // 2,
            "orders": len(self.orders),
            "twice": len(self.extra),
            "presses": self.presses,
            "searches": self.searches,
            "lost_percent": round(100 * self.lost / self.searches, 2) if self.searches else 0.0,
            "slowest_s": round(took_s[-1], 2) if took_s else 0.0,
            "typical_s": round(took_s[len(took_s) // 2], 2) if took_s else 0.0,
        }


class Customer:
    """A customer in the shop."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.key = f"key-{secrets.token_hex(8)}"
        self.cart_id = f"cart-{secrets.token_hex(8)}"

    async def look_around(self) -> None:
        """A list, and one of the products on it."""
        await self._http.get("/api/v1/products?limit=12")
        await self._http.get(f"/api/v1/products/SP-{random.choice(_PRODUCTS):05d}")

    async def search(self) -> int:
        """A search; the status of its answer."""
        return (await self._http.get(f"/api/v1/products?limit=12&q={random.choice(_WORDS)}")).status_code

    async def choose(self, sku: str) -> None:
        """One piece into the basket; again where the shop says that it is too busy."""
        path = f"/api/v1/carts/{self.cart_id}/items/{sku}"
        await _patiently(lambda: self._http.put(path, json={"quantity": 1}), _PATIENCE_S)

    async def pay(self) -> httpx2.Response:
        """Press Pay: always with the same key."""
        headers = {"Idempotency-Key": f'"{self.key}"'}
        return await self._http.post("/api/v1/checkout", json=_checkout(self.cart_id), headers=headers)

    async def pay_within(self, patience_s: float) -> httpx2.Response:
        """Press Pay again, after no answer too, for as long as the patience lasts: the key makes that harmless."""
        return await _patiently(self.pay, patience_s)


async def _patiently(ask: Callable[[], Awaitable[httpx2.Response]], patience_s: float) -> httpx2.Response:
    """The first answer but "not now", asked for again for as long as the patience lasts."""
    now_s = asyncio.get_running_loop().time
    ends_s = now_s() + patience_s
    while True:
        wait_s = 1.0
        try:
            answer = await ask()
            wait_s = min(float(answer.headers.get("retry-after", "1")), _WAIT_MAX_S)
            if answer.status_code != 503 or now_s() + wait_s > ends_s:
                return answer
        except httpx2.TransportError:
            if now_s() + wait_s > ends_s:
                raise
        await asyncio.sleep(wait_s)


def _checkout(cart_id: str) -> dict[str, Any]:
    where = {"name": "A Customer", "line1": "1 Street", "city": "Town", "postcode": "12345", "country": "DE"}
    card = {"number": "4242424242424242", "expiry": "12/39", "cvc": "123"}
    return {"cart_id": cart_id, "email": "customer@example.org", "address": where, "card": card}


class Crowd:
    """People at one shop."""

    def __init__(self, url: str, first: int = 1) -> None:
        self._url = url
        self._next = first

    @asynccontextmanager
    async def new_customer(self, connections: int = 2) -> AsyncIterator[tuple[Customer, httpx2.AsyncClient]]:
        """A person with an address of their own."""
        self._next += 1
        transport = httpx2.AsyncHTTPTransport(
            verify=no_authority(),
            local_address=address(self._next % 10_000, self._url),
            limits=httpx2.Limits(max_connections=connections),
        )
        async with TotalTimeoutClient(base_url=self._url, transport=transport, timeout=_PATIENCE_S) as http:
            yield Customer(http), http

    async def buy(self, people: int, sku: str, *, presses: int, apart_s: float, patience_s: float) -> CrowdResult:
        """Each buys one piece, all at once or one after the other; `presses` on Pay are made at the same time."""
        result = CrowdResult(people=people, presses=people * presses)

        async def one(number: int) -> None:
            async with self.new_customer(presses) as (customer, _http):
                try:
                    await customer.choose(sku)
                    await ready.wait()
                    await asyncio.sleep(number * apart_s)
                    began_s = time.monotonic()
                    answers = await asyncio.gather(*(customer.pay_within(patience_s) for _ in range(presses)))
                    result.took_s.append(time.monotonic() - began_s)
                    _count(result, answers)
                except httpx2.HTTPError:
                    result.lost += 1
                    ready.done()

        ready = _Ready(people)
        await asyncio.gather(*(one(number) for number in range(people)))
        return result

    async def searchers(
        self, people: int, searches: int, goes_on: Callable[[], Awaitable[bool]] | None = None
    ) -> CrowdResult:
        """Ordinary customers, who search now and then: so often, or for as long as something goes on."""
        result = CrowdResult(people=people)

        async def one() -> None:
            async with self.new_customer() as (customer, _http):
                for _ in itertools.count() if goes_on else range(searches):
                    if ended:
                        break
                    result.searches += 1
                    try:
                        status = await customer.search()
                    except httpx2.HTTPError:
                        status = 503
                    result.limited += status == 429
                    result.lost += status >= 500
                    await asyncio.sleep(0.25)

        async def watch() -> None:
            while goes_on and await goes_on():  # noqa: ASYNC110 - the shop is asked over HTTP
                await asyncio.sleep(_LOOKS_S)
            if goes_on:
                ended.append(True)

        ended: list[bool] = []
        await together(watch(), *(one() for _ in range(people)))
        return result

    async def flood(self, a_second: int) -> None:
        """One greedy client that searches without end, so often, or as often as it gets answers."""
        async with self.new_customer(8) as (customer, _http):
            turns = asyncio.Semaphore(8)

            async def one() -> None:
                try:
                    await customer.search()
                except httpx2.HTTPError:
                    pass
                finally:
                    turns.release()

            async with asyncio.TaskGroup() as group:
                now_s = asyncio.get_running_loop().time
                due_s = now_s()
                while True:
                    await turns.acquire()
                    group.create_task(one())
                    due_s = max(due_s + 1 / a_second, now_s() - _BEHIND_MAX_S)
                    await asyncio.sleep(max(0.0, due_s - now_s()))

    async def stroll(self) -> None:
        """A visitor who looks around without end, and sometimes buys."""
        while True:
            async with self.new_customer() as (customer, _http):
                try:
                    await self._round(customer)
                except httpx2.HTTPError:
                    await asyncio.sleep(_THINKS_S[1])

    async def _round(self, customer: Customer) -> None:
        for _ in range(random.randint(2, 6)):
            await (customer.search() if random.random() < 0.3 else customer.look_around())
            await asyncio.sleep(random.uniform(*_THINKS_S))
        if random.random() < _BUYS * 4:
            await customer.choose(f"SP-{random.choice(_PRODUCTS):05d}")
            await asyncio.sleep(random.uniform(*_THINKS_S))
            await customer.pay_within(_PATIENCE_S)


class _Ready:
    """All begin when each has a full basket."""

    def __init__(self, people: int) -> None:
        self._missing = people
        self._all = asyncio.Event()

    async def wait(self) -> None:
        self.done()
        await self._all.wait()

    def done(self) -> None:
        self._missing -= 1
        if self._missing <= 0:
            self._all.set()


def _count(result: CrowdResult, answers: list[httpx2.Response]) -> None:
    """One person's answers: the best of them is what they remember."""
    orders = {answer.json()["order_id"]: None for answer in answers if answer.status_code == 201}
    statuses = Counter(answer.status_code for answer in answers)
    result.orders |= orders.keys()
    result.extra |= set(list(orders)[1:])
    if orders:
        result.bought += 1
    elif statuses[409]:
        result.sold_out += 1
    elif statuses[429]:
        result.limited += 1
    else:
        result.unpaid += 1
