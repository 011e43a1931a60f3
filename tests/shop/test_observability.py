"""What a purchase leaves behind for those who run the shop: a trace through all hops, figures, logs, limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

import shop.gateway.wiring
from sdpatterns import per_second

from .visitor import Visitor, checkout_body

pytestmark = pytest.mark.anyio

Opening = Callable[[], AbstractAsyncContextManager[Visitor]]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def log_lines(data_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data_dir / "shop.log").read_text().splitlines()]


async def test_one_trace_goes_through_all_hops_and_into_the_log(opening: Opening, data_dir: Path) -> None:
    async with opening() as visitor:
        cart_id = await visitor.fill_cart()
        headers = {"Idempotency-Key": '"traced"', "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
        response = await visitor.http.post("/api/v1/checkout", json=checkout_body(cart_id), headers=headers)
        order_id = response.json()["order_id"]
    lines = {line["message"]: line for line in log_lines(data_dir) if line.get("order_id") == order_id}
    assert lines.keys() == {"charge booked", "order paid"}  # the first one is the provider's, five hops away
    assert {line["trace_id"] for line in lines.values()} == {TRACE_ID}
    assert lines["charge booked"]["span_id"] != lines["order paid"]["span_id"]
    assert {line["logger"] for line in lines.values()} == {"shop.psp", "shop.ordering"}


async def test_a_trace_that_is_nonsense_is_as_good_as_none(visitor: Visitor) -> None:
    response = await visitor.http.get("/livez", headers={"traceparent": "00-zz-b7ad6b7169203331-01\x7f"})
    assert response.status_code == 200
    assert response.headers["x-correlation-id"]


async def test_the_figures_of_a_service_are_its_own(visitor: Visitor) -> None:
    await visitor.buy()
    figures = {}
    for context in ("gateway", "payments"):
        async with httpx.AsyncClient(base_url=visitor.place.address(context)) as http:
            figures[context] = (await http.get("/metrics")).text
    assert 'route="/api/v1/checkout"' in figures["gateway"]
    assert 'route="/api/v1/checkout"' not in figures["payments"]
    assert 'route="/internal/payments/{order_id}/charge"' in figures["payments"]


async def test_the_breakers_story_is_in_the_figures_and_the_log(opening: Opening, data_dir: Path) -> None:
    async with opening() as visitor:
        await visitor.break_provider("fail")
        await asyncio.gather(*(visitor.buy() for _ in range(8)))
        async with httpx.AsyncClient(base_url=visitor.place.address("payments")) as http:
            figures = (await http.get("/metrics")).text
    assert 'sdpatterns_circuit_opened_total{name="psp"' in figures
    assert "circuit_opened" in {line["message"] for line in log_lines(data_dir)}


async def test_one_client_has_its_limit(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop.gateway.wiring, "RATE", per_second(1, burst=5))
    async with opening() as visitor:
        responses = [
            await visitor.http.get("/api/v1/products?limit=1", headers={"X-Forwarded-For": f"10.0.0.{number}"})
            for number in range(6)
        ]
    assert [response.status_code for response in responses] == [200] * 5 + [429]
    refused = responses[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit"].startswith('"api";r=0')
    assert responses[0].headers["ratelimit"].startswith('"api";r=4')


async def test_the_control_room_shows_limiter_breaker_and_turns(visitor: Visitor) -> None:
    state = await visitor.get("/control/api/state")
    assert state["breaker"]["state"] == "closed"
    assert state["limiter"]["left_for_you"] > 0
    assert state["turns"] == {"running": 0, "waiting": 0}
    assert state["fault"] is None
