"""Faults in any service, several at once: the shop answers for them, and they heal by themselves."""

from __future__ import annotations

import asyncio
import time

import pytest

from shop.stage.faults import Fault, FaultInjector

from .visitor import PATIENCE_S, PLENTY, Visitor

pytestmark = pytest.mark.anyio


async def begin(visitor: Visitor, target: str, kind: str, ttl_s: int = 60) -> None:
    fault = {"target": target, "kind": kind, "percent": 100, "ttl_s": ttl_s, "seed": 1}
    answer = await visitor.http.put("/control/api/fault", json=fault)
    assert answer.status_code == 200, answer.text


async def faults(visitor: Visitor) -> dict[str, str]:
    return {fault["target"]: fault["kind"] for fault in (await visitor.state())["faults"]}


@pytest.mark.parametrize("target", ["catalog", "reviews", "cart", "inventory", "ordering", "payments", "psp", "mail"])
async def test_a_fault_is_seen_in_the_control_room_and_leaves_it_working(shared: Visitor, target: str) -> None:
    await begin(shared, target, "hang")
    began_s = time.monotonic()
    state = await shared.state()
    assert time.monotonic() - began_s < 40.0, "who watches is not hit"
    assert [fault["target"] for fault in state["faults"]] == [target]
    assert all(service["live"] for service in state["services"])
    assert (await shared.http.delete(f"/control/api/faults/{target}")).status_code == 200
    assert await faults(shared) == {}


async def test_a_service_that_fails_gives_a_problem_and_is_counted(shared: Visitor) -> None:
    await begin(shared, "catalog", "fail")
    answer = await shared.http.get(f"/api/v1/products/{PLENTY}")
    assert answer.status_code >= 500
    assert answer.headers["content-type"] == "application/problem+json"
    state = await shared.state()
    (catalog,) = [service for service in state["services"] if service["name"] == "catalog"]
    assert catalog["failing"] > 0
    (edge,) = [edge for edge in state["edges"] if (edge["from"], edge["to"]) == ("gateway", "catalog")]
    assert edge["failing"] > 0
    await shared.heal_provider()


async def test_several_faults_at_once_are_healed_together(shared: Visitor) -> None:
    await begin(shared, "psp", "twice")
    await begin(shared, "reviews", "fail")
    await begin(shared, "cart", "slow")
    assert await faults(shared) == {"psp": "twice", "reviews": "fail", "cart": "slow"}
    assert (await shared.buy()).status_code == 201
    assert (await shared.http.delete("/control/api/fault")).status_code == 200
    assert await faults(shared) == {}
    await shared.all_holds()


async def test_a_fault_of_a_service_ends_by_itself(shared: Visitor) -> None:
    await begin(shared, "cart", "fail", ttl_s=1)
    assert (await shared.http.get("/api/v1/carts/c-1")).status_code >= 500
    async with asyncio.timeout(PATIENCE_S):
        while (await shared.http.get("/api/v1/carts/c-1")).status_code != 200:  # noqa: ASYNC110 - a customer, outside
            await asyncio.sleep(0.1)
    assert await faults(shared) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": "gateway"},
        {"target": "control"},
        {"kind": "late"},
        {"percent": 0},
        {"ttl_s": 601},
        {"target": "..", "kind": "fail"},
    ],
)
async def test_an_invalid_fault_is_refused(shared: Visitor, wrong: dict[str, object]) -> None:
    fault = {"target": "catalog", "kind": "fail", "percent": 100, "ttl_s": 5, "seed": 1, **wrong}
    assert (await shared.http.put("/control/api/fault", json=fault)).status_code == 422
    assert (await shared.http.delete("/control/api/faults/gateway")).status_code == 422
    assert await faults(shared) == {}


async def test_the_remaining_time_of_a_fault_is_within_its_duration(shared: Visitor) -> None:
    cart = shared.settings.address("cart")
    fault = {"target": "cart", "kind": "slow", "percent": 1, "ttl_s": 5, "seed": 1}
    for left_s in (0, 5.1, -1, "1", True, None):
        assert (await shared.http.put(f"{cart}/admin/fault", json=fault | {"left_s": left_s})).status_code == 422
    begun = (await shared.http.put(f"{cart}/admin/fault", json=fault | {"left_s": 2.5})).json()["fault"]
    assert begun == fault | {"left_s": 2.5}


@pytest.mark.parametrize(("percent", "requests", "hits"), [(20, 20, 4), (50, 40, 20), (1, 100, 1), (100, 20, 20)])
async def test_a_fault_hits_the_share_of_the_requests_that_it_names_with_each_seed(
    percent: int, requests: int, hits: int
) -> None:
    counts, orders = set(), set()
    for seed in range(50):
        injector = FaultInjector()
        injector.begin(Fault(target="psp", kind="fail", percent=percent, ttl_s=60, seed=seed), now_s=0.0)
        kinds = [injector.next(1.0).kind for _ in range(requests)]
        counts.add(kinds.count("fail"))
        orders.add(tuple(kinds))
    assert counts == {hits}
    assert (len(orders) > 1) == (percent < 100), "which of them is chance"
