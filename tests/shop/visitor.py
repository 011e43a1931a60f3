"""A user of the shop from outside, through its public surface alone."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from shop.launch import shop
from shop.settings import Settings, wall_clock_us

GOOD_CARD = "4242424242424242"
DECLINED_CARD = "4000000000000002"
DROP = "SP-00001"  # ten pieces
PLENTY = "SP-00040"


class Shift:
    """The wall clock, moved ahead by as much as a test likes."""

    ahead_s = 0.0

    def now_us(self) -> int:
        return wall_clock_us() + int(self.ahead_s * 1_000_000)


PATIENCE_S = 200.0
"""For how long a visitor presses again where a busy machine lets the shop's own time limits pass."""

ROUNDED_S = 0.1
"""The control room tells the age of its state in tenths of a second."""

_numbers = itertools.count(1)


def new_name(what: str) -> str:
    """A name that no other cart or key of this run has."""
    return f"{what}-{next(_numbers)}"


def checkout_body(cart_id: str, *, card: str = GOOD_CARD) -> dict[str, Any]:
    address = {"name": "Ada", "line1": "1 Row", "city": "London", "postcode": "N1", "country": "GB"}
    card_data = {"number": card, "expiry": "12/30", "cvc": "123"}
    return {"cart_id": cart_id, "email": "ada@example.org", "address": address, "card": card_data}


async def told_pause(response: httpx.Response) -> None:
    """Wait for as long as the shop asked, each visitor a little more or less, or all would come back at once."""
    await asyncio.sleep(float(response.headers["retry-after"]) * random.uniform(0.5, 1.5))


class Visitor:
    def __init__(self, http: httpx.AsyncClient, settings: Settings, shift: Shift) -> None:
        self.http = http
        self.settings = settings
        self.shift = shift

    async def fill_cart(self, sku: str = PLENTY, quantity: int = 1) -> str:
        """A new cart with that in it; presses again while the shop is too busy, because no test is about this step."""
        cart_id = new_name("cart")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                response = await self.http.put(f"/api/v1/carts/{cart_id}/items/{sku}", json={"quantity": quantity})
                if response.status_code != 503:
                    break
                await told_pause(response)
        assert response.status_code == 200, response.text
        return cart_id

    async def check_out(self, cart_id: str, *, key: str | None = None, card: str = GOOD_CARD) -> httpx.Response:
        headers = {"Idempotency-Key": f'"{key or new_name("key")}"'}
        return await self.http.post("/api/v1/checkout", json=checkout_body(cart_id, card=card), headers=headers)

    async def check_out_in_the_end(self, cart_id: str) -> httpx.Response:
        """The answer that is no 503: presses again, with the same key, while the shop is too busy."""
        key = new_name("key")
        async with asyncio.timeout(PATIENCE_S):
            while (response := await self.check_out(cart_id, key=key)).status_code == 503:
                await told_pause(response)
        return response

    async def buy(self, sku: str = PLENTY, quantity: int = 1, *, card: str = GOOD_CARD) -> httpx.Response:
        return await self.check_out(await self.fill_cart(sku, quantity), card=card)

    async def get(self, path: str) -> Any:
        response = await self.http.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def charges(self, order_id: str) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = await self.get(f"/psp/v1/charges?order_id={order_id}")
        return lines

    async def free(self, sku: str) -> int:
        return int((await self.get(f"/api/v1/products/{sku}"))["available"])

    async def break_provider(self, kind: str, *, percent: int = 100, ttl_s: int = 60, seed: int = 1) -> None:
        fault = {"target": "psp", "kind": kind, "percent": percent, "ttl_s": ttl_s, "seed": seed}
        response = await self.http.put("/control/api/fault", json=fault)
        assert response.status_code == 200, response.text

    async def heal_provider(self) -> None:
        assert (await self.http.delete("/control/api/fault")).status_code == 200

    async def all_holds(self) -> None:
        verdicts = await self.get("/control/api/invariants")
        broken = {name: verdict for name, verdict in verdicts.items() if not verdict["holds"]}
        assert not broken, broken

    async def state(self, within_s: float = 120.0) -> dict[str, Any]:
        """The state of the control room, looked up after this call began: a busy one answers with its last state."""
        async with asyncio.timeout(within_s):
            while True:
                began_s = time.monotonic()
                state: dict[str, Any] = await self.get("/control/api/state")
                if state["age_s"] is not None and state["age_s"] <= time.monotonic() - began_s + ROUNDED_S:
                    return state
                await asyncio.sleep(0.2)

    async def settled(self, within_s: float = 150.0) -> dict[str, Any]:
        """Wait until no order is in flight; gives the number of orders in each status."""
        async with asyncio.timeout(within_s):
            while True:
                found = await self.http.get(f"{self.settings.address('ordering')}/internal/counts")
                # What the process before left behind is brought up to date when the lease of that one has ended.
                if found.status_code == 503 and found.json()["type"] == "/problems/orders-late":
                    await asyncio.sleep(0.5)
                    continue
                assert found.status_code == 200, found.text
                counts = found.json()
                if not counts.keys() & {"pending", "undoing"}:
                    return {status: row["orders"] for status, row in counts.items()}
                await asyncio.sleep(0.1)


@asynccontextmanager
async def visiting(data_dir: Path) -> AsyncIterator[Visitor]:
    shift = Shift()
    async with shop(port=0, data_dir=data_dir, seed=1, now_us=shift.now_us) as settings:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        async with httpx.AsyncClient(base_url=settings.public, timeout=120.0, limits=limits) as http:
            yield Visitor(http, settings, shift)
