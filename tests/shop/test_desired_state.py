"""A replica that was killed comes back without switches and faults: the control room sees that and tells it again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from .running import Running, running
from .visitor import Visitor

pytestmark = pytest.mark.anyio

DEFENCES = {"limiter": "gateway", "breaker": "payments", "idempotency": "ordering", "fencing": "payments"}
HANG = {"target": "psp", "kind": "hang", "percent": 40, "ttl_s": 120, "seed": 7}
SLOW = {"target": "cart", "kind": "slow", "percent": 30, "ttl_s": 120, "seed": 9}


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = 120.0) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.1)


def address_of(shop: Running, context: str) -> str:
    return str(next(row["addresses"][context] for row in shop.replicas() if context in row["addresses"]))


async def pulse(http: httpx.AsyncClient, address: str) -> dict[str, Any]:
    """What a replica says itself; nothing while there is none."""
    found: dict[str, Any] = {"switches": {}, "fault": None}
    with contextlib.suppress(httpx.TransportError):
        found = (await http.get(f"{address}/internal/pulse")).json()
    return found


async def killed(http: httpx.AsyncClient, shop: Running, *names: str) -> None:
    """Kill replicas, and wait until others stand in their place."""
    before = {row["deployable"]: row["pid"] for row in shop.replicas()}
    for name in names:
        psutil.Process(before[name]).kill()

    async def all_new() -> bool:
        return all(row["pid"] != before[row["deployable"]] for row in shop.replicas() if row["deployable"] in names)

    await until(all_new)


async def test_killed_replicas_get_their_switches_and_what_is_left_of_their_faults(data_dir: Path) -> None:
    with running(data_dir, "--procs") as shop:
        async with httpx.AsyncClient(base_url=shop.url, timeout=120) as http:
            for name in DEFENCES:
                assert (await http.put(f"/control/api/switches/{name}", json={"on": False})).status_code == 200
            for fault in (HANG, SLOW):
                assert (await http.put("/control/api/fault", json=fault)).status_code == 200
            await killed(http, shop, *dict.fromkeys(DEFENCES.values()), "psp", "cart")

            async def told_again() -> bool:
                thrown = [
                    (await pulse(http, address_of(shop, at)))["switches"].get(name) for name, at in DEFENCES.items()
                ]
                met = [(await pulse(http, address_of(shop, at)))["fault"] for at in ("psp", "cart")]
                return thrown == [False] * len(DEFENCES) and None not in met

            await until(told_again)
            for fault in (HANG, SLOW):
                found = (await pulse(http, address_of(shop, str(fault["target"]))))["fault"]
                assert found.pop("left_s") < 120, "it ends when it would have ended"
                assert found == fault

            await killed(http, shop, "control")  # and with it what was wanted

            async def put_back() -> bool:
                answer = await http.get("/control/api/state")
                state = answer.json() if answer.is_success else {}
                return bool(state) and not state["faults"] and all(d["on"] for d in state["defences"].values())

            await until(put_back)


async def test_a_replica_with_other_settings_than_desired_is_corrected(shared: Visitor) -> None:
    cart, gateway = (shared.settings.address(name) for name in ("cart", "gateway"))
    assert (await shared.http.put("/control/api/fault", json=SLOW)).status_code == 200
    assert (await shared.http.put("/control/api/switches/limiter", json={"on": False})).status_code == 200
    assert (await shared.http.delete(f"{cart}/admin/fault")).json() == {"fault": None}
    assert (await shared.http.put(f"{gateway}/internal/switches/limiter", json={"on": True})).status_code == 200

    async def slow_and_off() -> bool:
        fault, switches = (await pulse(shared.http, cart))["fault"], (await pulse(shared.http, gateway))["switches"]
        return fault is not None and fault["kind"] == "slow" and switches == {"limiter": False}

    await until(slow_and_off)
    assert (await shared.http.delete("/control/api/fault")).status_code == 200
    assert (await shared.http.put("/control/api/switches/limiter", json={"on": True})).status_code == 200
    assert (await shared.http.put(f"{cart}/admin/fault", json=SLOW)).status_code == 200
    assert (await shared.http.put(f"{gateway}/internal/switches/limiter", json={"on": False})).status_code == 200

    async def well_and_on() -> bool:
        state = await shared.state()
        return state["faults"] == [] and state["defences"]["limiter"]["on"] is True

    await until(well_and_on)
    assert (await shared.state())["defences"]["limiter"]["harm"]["count"] == 0
