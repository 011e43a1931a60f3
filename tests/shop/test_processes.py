"""The shop as many processes: killed one by one under load, drained, left alone, started again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from .running import PATIENCE_S, Buyer, Running, fill_cart, gone, refused, running
from .visitor import DROP, PLENTY, checkout_body

SEVERAL = ("gateway", "catalog", "cart", "inventory", "ordering", "payments", "fulfilment")
ALONE = ("psp", "control")


def pid_of(shop: Running, deployable: str, replica: int = 1) -> int:
    (pid,) = (row["pid"] for row in shop.replicas() if row["deployable"] == deployable and row["replica"] == replica)
    assert isinstance(pid, int)
    return pid


async def settled(http: httpx.AsyncClient, within_s: float = 150.0) -> dict[str, Any]:
    """Wait until no order is in flight and all invariants hold; gives the orders by status."""
    async with asyncio.timeout(within_s):
        while True:
            state = await http.get("/control/api/state")
            verdicts = await http.get("/control/api/invariants")
            if state.is_success and verdicts.is_success and not state.json()["orders"].keys() & {"pending", "undoing"}:
                assert all(verdict["holds"] for verdict in verdicts.json().values()), verdicts.json()
                orders: dict[str, Any] = state.json()["orders"]
                return orders
            await asyncio.sleep(0.25)


async def paid_once(http: httpx.AsyncClient, buyers: list[Buyer]) -> None:
    """Each buyer has one order of their own, and it was charged once."""
    assert len({buyer.order_id for buyer in buyers}) == len(buyers)
    for buyer in buyers:
        charges = (await http.get(f"/psp/v1/charges?order_id={buyer.order_id}")).json()
        assert [line["refunded_minor"] for line in charges] == [0]


async def killed_one_by_one(shop: Running, http: httpx.AsyncClient, names: tuple[str, ...]) -> list[Buyer]:
    """Customers keep buying while a replica of each kind is killed; gives them when all have their order."""
    buyers: list[Buyer] = []
    shopping: list[asyncio.Task[None]] = []

    async def come(number: int) -> None:
        buyers.append(Buyer(http, f"buyer-{number}", f"SP-{40 + number % 100:05d}"))
        shopping.append(asyncio.create_task(buyers[-1].buy()))
        await asyncio.sleep(0.05)

    for place, name in enumerate(names):
        for number in range(8):
            await come(place * 8 + number)
        psutil.Process(pid_of(shop, name)).send_signal(signal.SIGKILL)
        for number in range(100, 104):
            await come(place * 8 + number)
    await asyncio.gather(*shopping)
    return buyers


@pytest.fixture(scope="module")
def several(
    tmp_path_factory: pytest.TempPathFactory, stocked: Callable[[Path], None]
) -> Iterator[Callable[[], Running]]:
    """Gives a shop with two replicas of most kinds: the one that is open, or another when a test has ended it."""
    with ExitStack() as stack:
        opened: list[Running] = []

        def shop() -> Running:
            if not opened or opened[-1].process.poll() is not None:
                data_dir = tmp_path_factory.mktemp("several") / "data"
                stocked(data_dir)
                opened.append(stack.enter_context(running(data_dir, "--procs", "--replicas", "2")))
            return opened[-1]

        yield shop


def test_unknown_clients_find_no_inner_route_at_any_gateway(several: Callable[[], Running]) -> None:
    shop = several()
    for _ in range(8):  # whichever gateway takes the connection
        assert httpx.get(f"{shop.url}/internal/pulse").status_code == 404
    inner = [row["addresses"]["gateway"] for row in shop.replicas() if row["deployable"] == "gateway"]
    assert [httpx.get(f"{at}/internal/pulse").status_code for at in inner] == [200, 200]
    state = httpx.get(f"{shop.url}/control/api/state").json()
    assert [row["live"] for row in state["services"] if row["name"] == "gateway"] == [True, True]


def killed_supervisor_leaves_no_orphans(shop: Running, other: Running, tmp_path: Path) -> None:
    assert "another shop is running" in refused(shop.data_dir, "--port", "0", "--procs")
    port = shop.url.rpartition(":")[2]
    assert f"127.0.0.1:{port}" in refused(tmp_path / "third", "--procs", "--port", port)
    family = shop.family()
    shop.process.kill()
    assert gone(family, 60.0) == []
    assert httpx.get(f"{other.url}/readyz").status_code == 200
    with running(shop.data_dir) as alone:  # the same data, in one process now
        assert httpx.get(f"{alone.url}/api/v1/products/{PLENTY}").status_code == 200


@pytest.mark.anyio
async def test_requests_in_flight_are_finished_and_the_next_start_has_the_data_and_leaves_no_orphans_when_killed(
    stocked_dir: Path, tmp_path: Path, several: Callable[[], Running]
) -> None:
    with running(stocked_dir, "--procs") as shop:
        assert {row["deployable"] for row in shop.replicas()} == {*SEVERAL, *ALONE}
        slow = {"target": "psp", "kind": "slow", "percent": 100, "ttl_s": 60, "seed": 1}
        async with httpx.AsyncClient(base_url=shop.url, timeout=120) as http:
            for number in range(8):
                fill_cart(shop.url, f"c{number}", DROP)
            await http.put("/control/api/fault", json=slow | {"percent": 40})
            keys = [{"Idempotency-Key": f'"drain-{number}"'} for number in range(8)]
            buying = [
                asyncio.create_task(http.post("/api/v1/checkout", json=checkout_body(f"c{number}"), headers=key))
                for number, key in enumerate(keys)
            ]
            await asyncio.sleep(0.3)
            out, _ = await asyncio.to_thread(shop.stop, signal.SIGTERM)
            answers = await asyncio.gather(*buying)  # none is cut off
    assert (shop.process.returncode, out.splitlines()[-1]) == (0, "Closed.")
    assert {answer.status_code for answer in answers} <= {201, 503}
    bought = [answer.json()["order_id"] for answer in answers if answer.status_code == 201]
    with running(stocked_dir, "--procs") as shop:
        async with httpx.AsyncClient(base_url=shop.url, timeout=120) as http:
            orders = await settled(http)
            for order_id in bought:
                assert (await http.get(f"/api/v1/orders/{order_id}")).json()["status"] == "paid"
            free = (await http.get(f"/api/v1/products/{DROP}")).json()["available"]
            assert free == 10 - orders["paid"]["orders"]
        killed_supervisor_leaves_no_orphans(shop, several(), tmp_path)


async def election(http: httpx.AsyncClient, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The election as the control room shows it, when it is as wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await http.get("/control/api/state")
            if answer.is_success and (seen := answer.json()["election"]) and holds(seen):
                return dict(seen)
            await asyncio.sleep(0.25)


@pytest.mark.anyio
async def test_when_the_process_of_the_leader_is_frozen_the_other_replica_pays_the_sellers(
    several: Callable[[], Running],
) -> None:
    shop = several()
    async with httpx.AsyncClient(base_url=shop.url, timeout=120) as http:
        buyer = Buyer(http, "owed", PLENTY)
        await buyer.buy()
        leader = (await election(http, lambda seen: bool(seen["since"])))["leader"]
        frozen = psutil.Process(pid_of(shop, "payments", int(leader.removeprefix("payments-"))))
        frozen.suspend()
        try:
            async with asyncio.timeout(PATIENCE_S):  # some of the calls go to the frozen process
                while not (await http.post("/control/api/nights", json={})).is_success:  # noqa: ASYNC110
                    await asyncio.sleep(0.25)
            seen = await election(http, lambda seen: bool(seen["night"]) and not seen["running"])
        finally:
            frozen.resume()
        assert seen["leader"] not in (leader, None)
        assert seen["payouts"] == 1
        await settled(http)
        assert (await http.post(f"/api/v1/orders/{buyer.order_id}/cancel")).is_success  # others count what is paid


@pytest.mark.anyio
async def test_a_replica_of_each_kind_is_killed_under_load(several: Callable[[], Running]) -> None:
    shop = several()
    before = {(row["deployable"], row["replica"]): row["pid"] for row in shop.replicas()}
    assert before.keys() == {(name, replica) for name in SEVERAL for replica in (1, 2)} | {(name, 1) for name in ALONE}
    async with httpx.AsyncClient(base_url=shop.url, timeout=120) as http:
        buyers = await killed_one_by_one(shop, http, ("ordering", "payments", "fulfilment", *SEVERAL[:4], *ALONE))
        assert {answer for buyer in buyers for answer in buyer.answers} <= {200, 201, 409, 503, 0}
        orders = await settled(http)
        assert orders["paid"]["orders"] == len(buyers)
        await paid_once(http, buyers)
    after = {(row["deployable"], row["replica"]): row["pid"] for row in shop.replicas()}
    assert {name for (name, replica) in before if before[name, replica] != after[name, replica]} == {
        *SEVERAL,
        *ALONE,
    }
    family = shop.family()
    out, err = shop.stop()
    assert shop.process.returncode == 0
    assert out.splitlines()[-1] == "Closed."
    assert err.count("was ended by SIGKILL; starting it again") == len(SEVERAL) + len(ALONE)
    assert gone(family, 60.0) == []


def test_a_broken_file_is_reported_in_one_line(stocked_dir: Path) -> None:
    (stocked_dir / "cart.sqlite3").write_bytes(b"this was a database once" * 1_000)
    line = refused(stocked_dir, "--port", "0", "--procs")
    assert "cart.sqlite3" in line
    assert "--data-dir" in line


def test_replicas_need_processes(data_dir: Path) -> None:
    import subprocess

    from .conftest import EXAMPLES
    from .running import command

    ended = subprocess.run(
        command(data_dir, "--replicas", "2"), cwd=EXAMPLES, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith("--replicas needs --procs")
