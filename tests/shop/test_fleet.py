"""The shop as processes on a real Postgres and a real Valkey: exact in a rush, killed under load, resumed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sdpatterns.testing.processes import owned_directory

from .running import fill_cart, gone, running
from .test_processes import killed_one_by_one, paid_once, settled
from .visitor import DROP, PATIENCE_S, PLENTY, checkout_body, told_pause


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that Postgres may enter too: under root it is another account's."""
    with owned_directory("shop-fleet-") as directory:
        directory.chmod(0o711)
        yield directory / "data"


async def rush(http: httpx.AsyncClient, customers: int) -> Counter[int]:
    """Customers with full carts press Pay in one moment for the last ten pieces."""
    names = [f"rush-{number}" for number in range(customers)]
    for name in names:
        line = await http.put(f"/api/v1/carts/{name}/items/{DROP}", json={"quantity": 1})
        assert line.status_code == 200, line.text

    return Counter(answer.status_code for answer in await asyncio.gather(*(pressed(http, name) for name in names)))


async def pressed(http: httpx.AsyncClient, name: str) -> httpx.Response:
    """The answer to a checkout; the customer presses again, with the same key, where the shop is too busy."""
    key = {"Idempotency-Key": f'"{name}"'}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await http.post("/api/v1/checkout", json=checkout_body(name), headers=key)
            if answer.status_code != 503:
                return answer
            await told_pause(answer)


async def pressed_often(http: httpx.AsyncClient, times: int) -> set[str]:
    """One customer pressing so often with one key; gives the orders that were answered."""
    await http.put(f"/api/v1/carts/often/items/{PLENTY}", json={"quantity": 1})
    answers = await asyncio.gather(*(pressed(http, "often") for _ in range(times)))
    assert {answer.status_code for answer in answers} == {201}
    return {answer.json()["order_id"] for answer in answers}


@pytest.mark.nightly
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("customers", "kinds"),
    [
        pytest.param(24, ("ordering", "gateway"), id="few"),
        pytest.param(100, ("ordering", "inventory", "payments", "gateway"), id="many", marks=pytest.mark.long),
    ],
)
async def test_a_fleet_keeps_its_limits_survives_kills_and_resumes(
    open_dir: Path, customers: int, kinds: tuple[str, ...]
) -> None:
    limits = httpx.Limits(max_connections=customers)
    with running(open_dir, "--procs", "--replicas", "2", "--fleet") as shop:
        async with httpx.AsyncClient(base_url=shop.url, timeout=120, limits=limits) as http:
            assert await rush(http, customers) == {201: 10, 409: customers - 10}
            (order_id,) = await pressed_often(http, customers // 2)
            buyers = await killed_one_by_one(shop, http, kinds, buyers_each=4)
            orders = await settled(shop, http)
            assert orders["paid"]["orders"] == 10 + 1 + len(buyers)
            await paid_once(http, buyers)
        family = shop.family()
        out, _ = await asyncio.to_thread(shop.stop)
        assert (shop.process.returncode, out.splitlines()[-1]) == (0, "Closed.")
        assert gone(family, 60.0) == []
    resumed(open_dir, order_id)


def resumed(data_dir: Path, order_id: str) -> None:
    """The next start has the data; when its supervisor is killed, its servers end as well."""
    with running(data_dir, "--procs", "--fleet") as shop:
        assert httpx.get(f"{shop.url}/api/v1/orders/{order_id}").json()["status"] == "paid"
        assert httpx.get(f"{shop.url}/api/v1/products/{DROP}").json()["available"] == 0
        fill_cart(shop.url, "later", PLENTY)
        family = shop.family()
        shop.process.kill()  # its servers end as well
        assert gone(family, 60.0) == []
