"""The service map: what the traces of real requests say of the calls between services."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from sdpatterns.core.tracing import Opened, trace_with
from sdpatterns.observability.recording import RecordingTracer, SpanStore, current_span
from shop.settings import CALLS, CONTEXTS
from shop.stage.control.service_map import DECLARED, LAYERS, layers, service_map
from shop.stage.traced_calls import VISITORS, TracedCalls

from .visitor import Visitor

pytestmark = pytest.mark.anyio


def seen(caller: str, callee: str, events: int, failed: int, p95_ms: float) -> dict[str, Any]:
    return {"from": caller, "to": callee, "events": events, "failed": failed, "p95_ms": p95_ms}


def calls_of(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{call['from']} → {call['to']}": call for call in state["calls"]}


def test_the_layers_have_each_service_once_and_no_call_that_is_declared_is_missing() -> None:
    assert sorted(name for layer in LAYERS for name in layer) == sorted({VISITORS, *CONTEXTS} - {"control"})
    assert LAYERS[:2] == [["visitors"], ["gateway"]]
    assert {callee for caller, callee in DECLARED if caller == "ordering"} == set(CALLS["ordering"])
    assert layers([("visitors", "a"), ("a", "b"), ("b", "c"), ("a", "c"), ("c", "b")]) == [
        ["visitors"],
        ["a"],
        ["b", "c"],
    ], "where two call each other neither comes before the other for all"


def test_replicas_are_one_box_and_a_call_that_was_not_made_is_shown_as_idle() -> None:
    one = {"traced": [seen("ordering", "payments", 30, 15, 20.0)]}
    two = {"traced": [seen("ordering", "payments", 90, 15, 80.0), seen("ordering", "unknown", 1, 0, 1.0)]}
    found = calls_of(service_map({"ordering": {"one": one, "two": two, "three": None}}))
    told = {"from": "ordering", "to": "payments", "rate": 4.0, "p95_ms": 80.0, "error_share": 0.25}
    assert found["ordering → payments"] == told
    assert found["gateway → catalog"]["rate"] == 0
    assert "ordering → unknown" not in found


def test_a_call_that_has_not_ended_is_counted_at_a_later_look_and_none_is_kept_beyond_a_bound() -> None:
    calls = TracedCalls()
    with trace_with(RecordingTracer(SpanStore())):
        with Opened("GET /", "server", {"service.name": "gateway"}):
            span = current_span()
            assert span is not None
            calls.note(span)
            assert calls.of("gateway") == []
        (call,) = calls.of("gateway")
        assert call == seen(VISITORS, "gateway", 1, 0, call["p95_ms"])
        assert calls.of("catalog") == []
        for _ in range(3_000):
            calls.note(span)
        (many,) = calls.of("gateway")
        assert many["events"] == 2_001


async def test_the_calls_of_a_purchase_are_drawn_and_a_service_that_fails_is_marked(shared: Visitor) -> None:
    await shared.check_out_in_the_end(await shared.fill_cart())
    state = await shared.state()
    found = calls_of(state["service_map"])
    for way in ("visitors → gateway", "gateway → ordering", "ordering → payments", "payments → psp"):
        assert found[way]["rate"] > 0, way
        assert found[way]["p95_ms"] > 0, way
    spent = {budget["name"]: budget for budget in state["budgets"]}
    assert spent["checkout-success"]["events"] >= 1
    assert spent["payment-provider"]["events"] >= 1
    errors = spent["gateway-availability"]["errors"]

    fault = {"target": "catalog", "kind": "fail", "percent": 100, "ttl_s": 60, "seed": 1}
    assert (await shared.http.put("/control/api/fault", json=fault)).status_code == 200
    try:
        refused: httpx.Response = await shared.http.get("/api/v1/products/SP-00040")
        assert refused.status_code >= 500
    finally:
        await shared.http.delete("/control/api/fault")
    async with asyncio.timeout(60):
        while not calls_of((state := await shared.state())["service_map"])["gateway → catalog"]["error_share"]:  # noqa: ASYNC110 - watched from outside
            await asyncio.sleep(0.1)
    assert {budget["name"]: budget for budget in state["budgets"]}["gateway-availability"]["errors"] > errors
