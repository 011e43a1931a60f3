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

import shop.gateway.defences
from sdpatterns import per_second
from shop.cart.service import Carts
from shop.gateway.service import Storefront

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
        found = await lines_of_all_jobs(visitor, order_id)
        nobody = await visitor.http.get("/control/api/orders/ord_nobody/logs")
    written = log_lines(data_dir)
    lines = {line["message"]: line for line in written if line.get("order_id") == order_id}
    assert lines.keys() == {"charge booked", "order paid", "request"}  # the first is the provider's, five hops away
    assert {line["trace_id"] for line in lines.values()} == {TRACE_ID}
    assert lines["charge booked"]["span_id"] != lines["order paid"]["span_id"]
    assert nobody.status_code == 404

    assert sorted(found, key=lambda line: line["time"]) == found
    assert [line for line in found if line not in written] == []
    assert {line["correlation_id"] for line in found} == {TRACE_ID}
    messages: dict[str, set[str]] = {}
    for line in found:
        messages.setdefault(line["service"], set()).add(line["message"])
    assert {service: messages[service] & EXPECTED.get(service, set()) for service in messages} == EXPECTED


async def lines_of_all_jobs(visitor: Visitor, order_id: str) -> list[dict[str, Any]]:
    """What the control room finds for an order, once all of its jobs are done."""
    async with asyncio.timeout(120.0):
        while True:
            lines: list[dict[str, Any]] = (await visitor.get(f"/control/api/orders/{order_id}/logs"))["lines"]
            done = {line["notice_job"] for line in lines if line["message"] == "job_completed"}
            if done == {"bill", "confirm", "tell_sellers", "webhook", "ship"}:
                return lines
            await asyncio.sleep(0.1)


EXPECTED = {
    "gateway": {"request"},
    "ordering": {
        "request",
        "claim_taken",
        "saga_started",
        "saga_ended",
        "order paid",
        "event_published",
        "answer_stored",
    },
    "fulfilment": {"request", "job_completed"},  # its inbox, and its jobs
    **{service: {"request"} for service in ("cart", "inventory", "payments", "mail", "carrier", "sellers")},
    "psp": {"request", "charge booked"},
}
"""Who does something for an order, and what of it stands in the log, all under one correlation id."""


async def test_an_invalid_trace_header_starts_a_new_trace(visitor: Visitor) -> None:
    response = await visitor.http.get("/readyz", headers={"traceparent": "00-zz-b7ad6b7169203331-01~"})
    assert response.status_code == 200
    assert response.headers["x-correlation-id"]


async def test_the_figures_of_a_service_are_its_own(visitor: Visitor) -> None:
    await visitor.buy()
    figures = {}
    for context in ("gateway", "payments"):
        async with httpx.AsyncClient(base_url=visitor.settings.address(context)) as http:
            figures[context] = (await http.get("/metrics")).text
    assert 'route="/api/v1/checkout"' in figures["gateway"]
    assert 'route="/api/v1/checkout"' not in figures["payments"]
    assert 'route="/internal/payments/{order_id}/charge"' in figures["payments"]


async def test_the_changes_of_the_breaker_are_in_the_metrics_and_the_log(opening: Opening, data_dir: Path) -> None:
    async with opening() as visitor:
        await visitor.break_provider("fail")
        await asyncio.gather(*(visitor.buy() for _ in range(8)))
        async with httpx.AsyncClient(base_url=visitor.settings.address("payments")) as http:
            figures = (await http.get("/metrics")).text
    assert 'sdpatterns_circuit_opened_total{name="psp"' in figures
    assert "circuit_opened" in {line["message"] for line in log_lines(data_dir)}


async def test_one_client_has_its_limit(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop.gateway.defences, "RATE", per_second(1, burst=5))
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
    state = await visitor.state()
    assert state["breaker"]["state"] == "closed"
    assert state["limiter"]["left_for_you"] > 0
    assert state["turns"] == {"running": 0, "waiting": 0}
    assert state["fault"] is None


async def test_a_purchase_is_a_trace_through_every_service_with_its_guards(visitor: Visitor) -> None:
    cart_id = await visitor.fill_cart()
    headers = {"Idempotency-Key": '"drawn"', "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
    await visitor.http.post("/api/v1/checkout", json=checkout_body(cart_id), headers=headers)
    drawn = await visitor.get(f"/control/api/traces/{TRACE_ID}")
    rows = drawn["rows"]
    assert {row["service"] for row in rows} == {
        "gateway",
        "ordering",
        "cart",
        "catalog",
        "inventory",
        "payments",
        "psp",
    }
    names = [row["name"] for row in rows]
    assert names[0] == "POST /api/v1/checkout"
    assert {"CircuitBreaker psp", "Timeout psp", "attempt 1 psp", "Bulkhead checkout"} <= set(names)
    assert len({row["span_id"] for row in rows}) == len(rows)
    depths = {row["span_id"]: row["depth"] for row in rows}
    assert all(row["depth"] == depths[row["parent_id"]] + 1 for row in rows[1:])
    assert rows[0]["critical"]
    assert drawn["duration_ms"] > 0
    assert any(event["name"] == "sdpatterns.claim_taken" for row in rows for event in row["events"])


async def test_a_repeated_attempt_is_linked_to_the_one_before(visitor: Visitor) -> None:
    await visitor.break_provider("fail")
    cart_id = await visitor.fill_cart()
    headers = {"Idempotency-Key": '"linked"', "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
    await visitor.http.post("/api/v1/checkout", json=checkout_body(cart_id), headers=headers)
    drawn = await visitor.get(f"/control/api/traces/{TRACE_ID}")
    rows = {row["name"]: row for row in drawn["rows"]}
    assert drawn["failed"]
    assert rows["attempt 1 psp"]["failed"]
    assert rows["attempt 2 psp"]["links"] == [f"{TRACE_ID}/{rows['attempt 1 psp']['span_id']}"]


async def test_traces_are_listed_newest_first_and_looking_leaves_none(visitor: Visitor) -> None:
    await visitor.http.get("/api/v1/products?limit=1")
    await visitor.buy()
    seen = [(await visitor.get("/control/api/traces?limit=50")) for _ in range(2)]
    # What follows the order may still add spans to its trace.
    assert [line["trace_id"] for line in seen[0]] == [line["trace_id"] for line in seen[1]]
    names = [line["name"] for line in seen[0]]
    assert names == ["POST /api/v1/checkout", "PUT /api/v1/carts/{cart_id}/items/{sku}", "GET /api/v1/products"]
    assert len(await visitor.get("/control/api/traces?limit=1")) == 1
    assert (await visitor.http.get("/control/api/traces/ffffffffffffffffffffffffffffffff")).status_code == 404
    assert (await visitor.http.get("/control/api/traces/..")).status_code in (404, 405)


async def test_the_live_stream_sends_states_and_dots(visitor: Visitor) -> None:
    events: dict[str, Any] = {}
    async with asyncio.timeout(120), visitor.http.stream("GET", "/control/live") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        await visitor.http.get("/api/v1/products?limit=1&q=lamp")
        await visitor.http.get("/api/v1/products/SP-99999")
        name = ""
        async for line in stream.aiter_lines():
            field, _, value = line.partition(": ")
            name = value if field == "event" else name
            if field == "data":
                told = json.loads(value)
                events.setdefault(name, []).extend([told] if name == "state" else told["dots"])
            if "state" in events and len(events.get("dots", ())) >= 2:
                break
    dots = {dot["kind"]: dot for dot in events["dots"]}
    assert dots["search"]["status"] == 200
    assert dots["api"]["status"] == 404
    assert dots["search"].keys() == {"at_ms", "kind", "status", "ms", "trace_id", "client"}
    assert dots["search"]["client"] == "127.0.0.1"
    assert len(dots["search"]["trace_id"]) == 32
    assert events["state"][0].keys() == (await visitor.state()).keys()


async def test_the_map_shows_every_service_and_who_asks_whom(visitor: Visitor) -> None:
    assert (await visitor.buy()).status_code == 201
    state = await visitor.state()
    assert {service["name"] for service in state["services"]} == set(visitor.settings.addresses)
    assert all(service["live"] and service["replica"] == 1 for service in state["services"])
    calls = {(edge["from"], edge["to"]): edge for edge in state["edges"]}
    assert calls.keys() >= {("gateway", "ordering"), ("ordering", "payments"), ("payments", "psp"), ("cart", "catalog")}
    assert calls["payments", "psp"]["breaker"] == "closed"
    assert calls["gateway", "ordering"]["rate"] > 0
    assert not any("control" in edge for edge in calls)


async def test_retries_are_seen_on_the_edge_that_makes_them(visitor: Visitor) -> None:
    await visitor.break_provider("fail")
    await asyncio.gather(*(visitor.buy() for _ in range(6)))
    state = await visitor.state()
    (edge,) = [edge for edge in state["edges"] if (edge["from"], edge["to"]) == ("payments", "psp")]
    assert edge["retries"] > 0
    assert edge["failing"] > 0
    assert edge["breaker"] == "open"


@pytest.mark.parametrize(("broken", "path"), [(Carts, "/api/v1/carts/c-1"), (Storefront, "/support?order_id=o")])
async def test_an_unexpected_error_is_one_line_of_the_log_with_its_trace(
    opening: Opening, data_dir: Path, monkeypatch: pytest.MonkeyPatch, broken: type, path: str
) -> None:
    async def surprise(*_: object) -> None:
        raise RuntimeError("nobody expected this")

    for verb in ("show", "order"):
        monkeypatch.setattr(broken, verb, surprise, raising=False)
    headers = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "Accept": "text/html"}
    async with opening() as visitor:
        answer = await visitor.http.get(path, headers=headers)
    assert answer.status_code == 500
    assert "nobody expected" not in answer.text
    assert "on our side" in answer.text
    told = [line for line in log_lines(data_dir) if "nobody expected" in json.dumps(line)]
    assert [line["message"] for line in told] == ["unexpected error"]
    assert told[0]["trace_id"] == TRACE_ID
    assert "surprise" in told[0]["error"]


async def test_an_idempotency_key_is_in_no_log_or_trace(opening: Opening, data_dir: Path) -> None:
    key = "the-customers-own-secret"
    async with opening() as visitor:
        cart_id = await visitor.fill_cart()
        headers = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "Idempotency-Key": f'"{key}"'}
        for _ in range(2):
            answer = await visitor.http.post("/api/v1/checkout", json=checkout_body(cart_id), headers=headers)
            assert answer.status_code == 201
        assert key not in json.dumps(await visitor.get(f"/control/api/traces/{TRACE_ID}"))
    taken = [line for line in log_lines(data_dir) if line["message"] == "claim_taken"]
    assert len(taken[0]["notice_key"]) == 12, "one key can still be told from another"
    assert key not in (data_dir / "shop.log").read_text()
