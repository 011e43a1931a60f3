"""The shop as many processes: killed one by one under load, drained, left alone, started again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from shop.__main__ import main
from shop.stage.scenarios.crowd import Crowd, CrowdResult

from .pulses import pulse, until
from .running import PATIENCE_S, Buyer, Running, fill_cart, gone, refused, running
from .visitor import DROP, PLENTY, checkout_body

SEVERAL = ("gateway", "catalog", "cart", "inventory", "ordering", "payments", "fulfilment")
ALONE = ("psp", "control")
DEFENCES = {"limiter": "gateway", "breaker": "payments", "idempotency": "ordering", "fencing": "payments"}
HANG = {"target": "psp", "kind": "hang", "percent": 40, "ttl_s": 120, "seed": 7}
SLOW = {"target": "cart", "kind": "slow", "percent": 30, "ttl_s": 120, "seed": 9}


def pid_of(shop: Running, deployable: str, replica: int = 1) -> int:
    (pid,) = (row["pid"] for row in shop.replicas() if row["deployable"] == deployable and row["replica"] == replica)
    assert isinstance(pid, int)
    return pid


def address_of(shop: Running, context: str) -> str:
    """The address of the first replica of a context."""
    return str(next(row["addresses"][context] for row in shop.replicas() if context in row["addresses"]))


async def settled(shop: Running, http: httpx.AsyncClient) -> dict[str, Any]:
    """Wait until no order is in flight and all invariants hold; gives the orders by status."""
    orders: dict[str, Any] = {}

    async def is_done() -> bool:
        with contextlib.suppress(httpx.TransportError):  # the replica was killed a moment ago
            answer = await http.get(f"{address_of(shop, 'ordering')}/internal/counts")
            if answer.is_success:
                orders.clear()
                orders.update(answer.json())
                return not orders.keys() & {"pending", "undoing"}
        return False

    await until(is_done, PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while not (verdicts := await http.get("/control/api/invariants")).is_success:  # noqa: ASYNC110 - from outside
            await asyncio.sleep(0.25)
    assert all(verdict["holds"] for verdict in verdicts.json().values()), verdicts.json()
    return orders


async def paid_once(http: httpx.AsyncClient, buyers: list[Buyer]) -> None:
    """Each buyer has one order of their own, and it was charged once."""
    assert len({buyer.order_id for buyer in buyers}) == len(buyers)
    for buyer in buyers:
        charges = (await http.get(f"/psp/v1/charges?order_id={buyer.order_id}")).json()
        assert [line["refunded_minor"] for line in charges] == [0]


async def killed_one_by_one(
    shop: Running, http: httpx.AsyncClient, names: tuple[str, ...], buyers_each: int
) -> list[Buyer]:
    """Customers keep buying while a replica of each kind is killed; gives them when all have their order."""
    buyers: list[Buyer] = []
    shopping: list[asyncio.Task[None]] = []

    async def come(number: int) -> None:
        buyers.append(Buyer(http, f"buyer-{number}", f"SP-{40 + number % 100:05d}"))
        shopping.append(asyncio.create_task(buyers[-1].buy()))
        await asyncio.sleep(0.05)

    for place, name in enumerate(names):
        for number in range(buyers_each):
            await come(place * 8 + number)
        psutil.Process(pid_of(shop, name)).send_signal(signal.SIGKILL)
        for number in range(100, 100 + buyers_each // 2):
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


@pytest.mark.nightly
def test_unknown_clients_find_no_inner_route_at_any_gateway(several: Callable[[], Running]) -> None:
    shop = several()
    for _ in range(8):  # whichever gateway takes the connection
        assert httpx.get(f"{shop.url}/internal/pulse").status_code == 404
    inner = [row["addresses"]["gateway"] for row in shop.replicas() if row["deployable"] == "gateway"]
    assert [httpx.get(f"{at}/internal/pulse").status_code for at in inner] == [200, 200]
    state = httpx.get(f"{shop.url}/control/api/state").json()
    assert [row["live"] for row in state["services"] if row["name"] == "gateway"] == [True, True]


async def rolled_out(http: httpx.AsyncClient, *, has_bug: bool) -> tuple[dict[str, Any], CrowdResult]:
    """A rollout of the catalog while people search: how it ended, and how they fared."""

    async def is_running() -> bool:
        return bool((await http.get("/control/api/rollout")).json()["running"])

    wanted = {"service": "catalog", "has_bug": has_bug, "at_once": False}
    assert (await http.post("/control/api/rollout", json=wanted)).status_code == 202
    assert (await http.post("/control/api/rollout", json=wanted)).status_code == 409
    fared = await Crowd(str(http.base_url)).searchers(8, 0, is_running)
    return (await http.get("/control/api/rollout")).json(), fared


@pytest.mark.nightly
@pytest.mark.anyio
async def test_a_release_with_a_bug_is_taken_back_by_itself_and_a_good_one_is_promoted(
    several: Callable[[], Running],
) -> None:
    shop = several()
    async with httpx.AsyncClient(base_url=shop.url, timeout=30.0) as http:
        bad, fared = await rolled_out(http, has_bug=True)
        assert (bad["result"], bad["before"], bad["version"]) == ("rolled back", 1, 2), bad
        assert 0 < fared.lost <= 0.02 * fared.searches
        assert [row["release"] for row in shop.replicas() if row["deployable"] == "catalog"] == [1, 1]
        good, fared = await rolled_out(http, has_bug=False)
        assert (good["result"], good["weight"]) == ("promoted", 1.0), good
        assert fared.lost <= 0.02 * fared.searches
        assert [row["release"] for row in shop.replicas() if row["deployable"] == "catalog"] == [2, 2]


@pytest.mark.long
def test_the_scenario_of_the_bad_canary_holds(several: Callable[[], Running]) -> None:
    assert main(["scenario", "bad-canary", "--url", several().url]) == 0


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
@pytest.mark.long  # nine processes are started twice; the fleet and `ended_in_order` below do the same in a smaller way
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
            orders = await settled(shop, http)
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
@pytest.mark.long  # `test_payouts` pauses the leader inside a process
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
        await settled(shop, http)
        assert (await http.post(f"/api/v1/orders/{buyer.order_id}/cancel")).is_success  # others count what is paid


async def killed(shop: Running, *names: str) -> None:
    """Kill the first replica of each kind, and wait until others stand in their place."""
    before = {name: pid_of(shop, name) for name in names}
    for pid in before.values():
        psutil.Process(pid).kill()

    async def all_new() -> bool:
        return all(pid_of(shop, name) != pid for name, pid in before.items())

    await until(all_new)


@pytest.mark.nightly
@pytest.mark.anyio
async def test_killed_replicas_get_their_switches_and_what_is_left_of_their_faults(
    several: Callable[[], Running],
) -> None:
    shop = several()
    async with httpx.AsyncClient(base_url=shop.url, timeout=120) as http:
        for name in DEFENCES:
            assert (await http.put(f"/control/api/switches/{name}", json={"on": False})).status_code == 200
        for fault in (HANG, SLOW):
            assert (await http.put("/control/api/fault", json=fault)).status_code == 200
        await killed(shop, *dict.fromkeys(DEFENCES.values()), "psp", "cart")

        async def told_again() -> bool:
            thrown = [(await pulse(http, address_of(shop, at)))["switches"].get(name) for name, at in DEFENCES.items()]
            met = [(await pulse(http, address_of(shop, at)))["fault"] for at in ("psp", "cart")]
            return thrown == [False] * len(DEFENCES) and None not in met

        await until(told_again)
        for fault in (HANG, SLOW):
            found = (await pulse(http, address_of(shop, str(fault["target"]))))["fault"]
            assert found.pop("left_s") < 120, "it ends when it would have ended"
            assert found == fault

        await killed(shop, "control")  # and with it what was wanted

        async def put_back() -> bool:
            answer = await http.get("/control/api/state")
            state = answer.json() if answer.is_success else {}
            return bool(state) and not state["faults"] and all(d["on"] for d in state["defences"].values())

        await until(put_back)


@pytest.mark.nightly
@pytest.mark.anyio
async def test_a_rollout_is_taken_back_where_the_control_room_was_killed_in_the_middle_of_it(
    several: Callable[[], Running],
) -> None:
    """It is killed while the replica of the new release starts, so that the next one does not find that at once."""
    shop = several()

    def releases() -> list[int]:
        return [row["release"] for row in shop.replicas() if row["deployable"] == "cart"]

    async def is_new() -> bool:
        return releases() == [1, 2]

    async def is_old() -> bool:
        answer = await http.get("/control/api/rollout")
        return answer.is_success and not answer.json()["running"] and releases() == [1, 1]

    async with httpx.AsyncClient(base_url=shop.url, timeout=120) as http:
        await until(is_old)
        wanted = {"service": "cart", "has_bug": False, "at_once": False}
        assert (await http.post("/control/api/rollout", json=wanted)).status_code == 202
        await until(is_new)
        await killed(shop, "control")
        await until(is_old)
        beats = [await pulse(http, row["addresses"]["cart"]) for row in shop.replicas() if row["deployable"] == "cart"]
        assert [beat["service"] for beat in beats] == ["cart", "cart"]


async def ended_in_order(shop: Running, http: httpx.AsyncClient) -> str:
    """End the shop while checkouts are on their way: none is cut off, and no process is left. Gives what it said."""
    names = [f"last-{number}" for number in range(4)]
    for name in names:
        assert (await http.put(f"/api/v1/carts/{name}/items/{PLENTY}", json={"quantity": 1})).status_code == 200
    slow = {"target": "psp", "kind": "slow", "percent": 40, "ttl_s": 60, "seed": 1}
    assert (await http.put("/control/api/fault", json=slow)).status_code == 200

    async def buy(name: str) -> httpx.Response:
        key = {"Idempotency-Key": f'"{name}"'}
        return await http.post("/api/v1/checkout", json=checkout_body(name), headers=key)

    buying = [asyncio.create_task(buy(name)) for name in names]

    async def have_begun() -> bool:
        counts = (await http.get(f"{address_of(shop, 'ordering')}/internal/counts")).json()
        return "pending" in counts or all(task.done() for task in buying)

    await until(have_begun)
    family = shop.family()
    out, err = await asyncio.to_thread(shop.stop, signal.SIGTERM)
    assert {answer.status_code for answer in await asyncio.gather(*buying)} <= {201, 503}
    assert (shop.process.returncode, out.splitlines()[-1]) == (0, "Closed.")
    assert "Traceback" not in err
    assert gone(family, 60.0) == []
    return err


@pytest.mark.nightly
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kinds", "buyers_each"),
    [
        pytest.param(("ordering", "payments", "gateway", "psp"), 4, id="some"),
        pytest.param((*SEVERAL, *ALONE), 8, id="all", marks=pytest.mark.long),
    ],
)
async def test_replicas_are_killed_under_load(
    several: Callable[[], Running], kinds: tuple[str, ...], buyers_each: int
) -> None:
    shop = several()
    before = {(row["deployable"], row["replica"]): row["pid"] for row in shop.replicas()}
    assert before.keys() == {(name, replica) for name in SEVERAL for replica in (1, 2)} | {(name, 1) for name in ALONE}
    async with httpx.AsyncClient(base_url=shop.url, timeout=120) as http:
        paid = (await settled(shop, http)).get("paid", {"orders": 0})["orders"]  # by the tests before
        buyers = await killed_one_by_one(shop, http, kinds, buyers_each)
        assert {answer for buyer in buyers for answer in buyer.answers} <= {200, 201, 409, 503, 0}
        orders = await settled(shop, http)
        assert orders["paid"]["orders"] == paid + len(buyers)
        await paid_once(http, buyers)
        after = {(row["deployable"], row["replica"]): row["pid"] for row in shop.replicas()}
        assert {name for (name, replica) in before if before[name, replica] != after[name, replica]} == {*kinds}
        err = await ended_in_order(shop, http)
    assert err.count("was ended by SIGKILL; starting it again") >= len(kinds)


async def in_flight(shop: Running, http: httpx.AsyncClient) -> bool:
    counts = await http.get(f"{address_of(shop, 'ordering')}/internal/counts")
    return counts.is_success and "pending" in counts.json()


@pytest.mark.nightly
@pytest.mark.anyio
async def test_orders_go_on_where_all_processes_of_ordering_die_in_the_middle_of_their_sagas(
    several: Callable[[], Running],
) -> None:
    shop = several()
    async with httpx.AsyncClient(base_url=shop.url, timeout=120) as http:
        paid = (await settled(shop, http)).get("paid", {"orders": 0})["orders"]  # by the tests before
        slow = {"target": "inventory", "kind": "slow", "percent": 60, "ttl_s": 120, "seed": 4}
        assert (await http.put("/control/api/fault", json=slow)).status_code == 200
        buyers = [Buyer(http, f"mid-saga-{number}", f"SP-{60 + number:05d}") for number in range(6)]
        shopping = [asyncio.create_task(buyer.buy()) for buyer in buyers]
        await until(lambda: in_flight(shop, http))
        for replica in (1, 2):
            psutil.Process(pid_of(shop, "ordering", replica)).kill()
        await http.delete("/control/api/fault")
        await asyncio.gather(*shopping)
        orders = await settled(shop, http)
        assert orders["paid"]["orders"] == paid + len(buyers)
        await paid_once(http, buyers)


@pytest.mark.long  # a supervisor that ends because of a replica; `test_one_process` has the line for each file
def test_a_broken_file_is_reported_in_one_line(stocked_dir: Path) -> None:
    (stocked_dir / "cart.sqlite3").write_bytes(b"this was a database once" * 1_000)
    line = refused(stocked_dir, "--port", "0", "--procs")
    assert "cart.sqlite3" in line
    assert "--data-dir" in line


def test_replicas_need_processes(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["up", "--data-dir", str(data_dir), "--replicas", "2"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--replicas needs --procs")
