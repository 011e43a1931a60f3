"""A replica that has other switches and faults than it should is told again; for killed ones see `test_processes`."""

from __future__ import annotations

import pytest

from .pulses import pulse, until
from .visitor import Visitor

pytestmark = pytest.mark.anyio

SLOW = {"target": "cart", "kind": "slow", "percent": 30, "ttl_s": 120, "seed": 9}


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
