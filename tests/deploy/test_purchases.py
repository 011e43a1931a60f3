"""Customers of the trial press again with the same key, and each request that had to be pressed again is counted."""

from __future__ import annotations

import httpx2
import pytest

from deploy.play.purchases import Customers, PurchaseFailed

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Shop:
    """Answers what a test says, and notes what it was asked."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.keys: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PUT":
            return httpx2.Response(200, json={})
        self.keys.append(request.headers["idempotency-key"])
        return httpx2.Response(self.statuses.pop(0), headers={"retry-after": "0"}, json={})


async def buying(shop: Shop) -> Customers:
    customers = Customers(lambda: ("http://127.0.0.1:1",))
    await customers.aclose()
    customers.http = httpx2.AsyncClient(transport=httpx2.MockTransport(shop), base_url="http://shop")
    return customers


async def test_a_purchase_that_is_pressed_again_has_one_key_and_is_counted(no_waiting: None) -> None:
    shop = Shop(503, 502, 201)
    customers = await buying(shop)
    await customers.buy(0)
    assert (customers.bought, customers.failed) == (1, {"POST checkout 503": 1, "POST checkout 502": 1})
    assert len(set(shop.keys)) == 1
    await customers.aclose()


async def test_a_refusal_is_no_purchase_and_is_not_pressed_again() -> None:
    shop = Shop(409)
    customers = await buying(shop)
    with pytest.raises(PurchaseFailed, match="409"):
        await customers.buy(0)
    assert (customers.bought, len(shop.keys)) == (0, 1)
    await customers.aclose()
