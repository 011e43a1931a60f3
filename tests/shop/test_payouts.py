"""Sellers are paid by an elected leader: once a night, whatever happens to leaders, and over HTTP alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from .visitor import PATIENCE_S, Visitor

pytestmark = pytest.mark.anyio


async def run_night(visitor: Visitor) -> None:
    assert (await visitor.http.post("/control/api/nights", json={})).status_code == 202


async def until(visitor: Visitor, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first state that is as wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            state = await visitor.state()
            if holds(state):
                return state
            await asyncio.sleep(0.2)


async def bought(visitor: Visitor, sku: str) -> dict[str, Any]:
    """An order of one piece, paid in the end."""
    answer = await visitor.check_out_in_the_end(await visitor.fill_cart(sku))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def led(visitor: Visitor) -> str:
    """The candidate that leads."""
    return str((await until(visitor, lambda state: bool(state["election"].get("since"))))["election"]["leader"])


def is_paid(state: dict[str, Any]) -> bool:
    return not state["election"]["running"]


async def audit(visitor: Visitor) -> str:
    verdict = (await visitor.get("/control/api/invariants"))["sellers_paid_once"]
    assert verdict["holds"], verdict
    return str(verdict["detail"])


async def test_each_seller_is_paid_in_the_next_night_and_owes_what_was_refunded(visitor: Visitor) -> None:
    first, second = [await bought(visitor, sku) for sku in ("SP-00050", "SP-00051")]
    both = first["total_minor"] + second["total_minor"]
    assert await audit(visitor) == f"owed {both}, paid 0, waiting {both}"
    await run_night(visitor)
    await until(visitor, is_paid)
    assert await audit(visitor) == f"owed {both}, paid {both}, waiting 0"
    assert (await visitor.http.post(f"/api/v1/orders/{first['order_id']}/cancel")).status_code == 200
    left = second["total_minor"]
    assert await audit(visitor) == f"owed {left}, paid {both}, waiting -{first['total_minor']}"
    await run_night(visitor)
    await until(visitor, is_paid)
    assert await audit(visitor) == f"owed {left}, paid {left}, waiting 0"
    await visitor.all_holds()


async def paused_night(visitor: Visitor) -> dict[str, Any]:
    """A night in which the leader stops for longer than its lease; gives the state when it is back."""
    await bought(visitor, "SP-00052")
    paused = await led(visitor)
    fault = {"target": "payments", "kind": "pause", "percent": 100, "ttl_s": 600, "seed": 1}
    assert (await visitor.http.put("/control/api/fault", json=fault)).status_code == 200
    await run_night(visitor)
    state = await until(visitor, lambda state: is_paid(state) and state["election"]["leader"] not in (paused, None))
    assert state["defences"]["fencing"]["harm"]["count"] == 0, "nobody has come back yet"
    assert (await visitor.http.delete("/control/api/faults/payments")).status_code == 200
    return await until(visitor, lambda state: has_come_back(state["defences"]["fencing"]))


def has_come_back(fencing: dict[str, Any]) -> bool:
    return bool(fencing["harm"]["count"] or fencing["state"]["refused"])


@pytest.mark.nightly
async def test_a_leader_that_was_paused_pays_no_seller_twice_except_without_fencing(visitor: Visitor) -> None:
    for on, harmed, refused in ((False, 1, 0), (True, 0, 1)):
        switch = await visitor.http.put("/control/api/switches/fencing", json={"on": on})
        assert switch.status_code == 200
        fencing = (await paused_night(visitor))["defences"]["fencing"]
        assert (fencing["harm"]["count"], fencing["state"]["refused"]) == (harmed, refused)
        verdicts = await visitor.get("/control/api/invariants")
        broken = [name for name, verdict in verdicts.items() if not verdict["holds"]]
        assert broken == ([] if on else ["sellers_paid_once"])
        assert (await visitor.http.post("/control/api/reversals", json={})).json() == {"reversed": harmed}
        await visitor.all_holds()
