"""Spans of requests, protected calls and attempts, read back from a real SDK."""

from __future__ import annotations

import asyncio
import json
import logging

import httpx
import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from sdpatterns import (
    Bulkhead,
    CircuitBreaker,
    DeadlineExceeded,
    Fallback,
    Idempotency,
    Pipeline,
    Quota,
    RateLimiter,
    Retry,
    Timeout,
    daily,
    per_minute,
    trace_with,
)
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.coordination.idempotency import Claim, Replay
from sdpatterns.core import context
from sdpatterns.core.context import Trace
from sdpatterns.core.tracecontext import parse_trace
from sdpatterns.core.tracing import here
from sdpatterns.errors import ClaimHeld, RateLimited
from sdpatterns.observability.logs import JsonFormatter
from sdpatterns.observability.opentelemetry import OpenTelemetryTracer
from sdpatterns.observability.traces import SpanRecord, TraceStore, waterfall
from sdpatterns.web.asgi.tracing import TracingMiddleware
from sdpatterns.web.httpx import AsyncTransport, Transport
from tests.loops import on_virtual_asyncio

pytestmark = pytest.mark.anyio

CALLER = Trace("4b" * 16, "00f067aa0ba902b7", state="acme=1,0day=2")
CALLER_HEADERS = {"traceparent": f"00-{CALLER.trace_id}-{CALLER.span_id}-01", "tracestate": CALLER.state}


def drawn(store: TraceStore) -> list[tuple[int, str]]:
    (summary,) = store.recent()
    return [(row.depth, row.name) for row in waterfall(store.spans(summary.trace_id)).rows]


def by_name(store: TraceStore) -> dict[str, SpanRecord]:
    return {span.name: span for summary in store.recent() for span in store.spans(summary.trace_id)}


async def nothing() -> str:
    return "done"


async def test_each_part_of_a_pipeline_is_a_span_in_the_one_around_it(store: TraceStore) -> None:
    limiter = RateLimiter("api", per_minute(10))
    once = Idempotency("orders", store=MemoryBackend().states)
    pipeline = Pipeline(
        Fallback("nothing", on=ConnectionError),
        once.by("k"),
        Retry(on=ConnectionError),
        limiter.by("me"),
        CircuitBreaker("psp"),
        Bulkhead("slots", concurrent_max=2),
        Timeout(2.0),
        name="pay",
    )
    assert await pipeline.protect(nothing)() == "done"
    names = ["Fallback pay", "Idempotency orders", "Retry pay", "attempt 1 pay", "RateLimiter api"]
    names += ["CircuitBreaker psp", "Bulkhead slots", "Timeout pay"]
    assert drawn(store) == list(enumerate(names))
    span = by_name(store)["CircuitBreaker psp"]
    assert span.attributes == {
        "sdpatterns.pattern": "CircuitBreaker",
        "sdpatterns.name": "psp",
        "sdpatterns.outcome": "success",
    }
    assert not any(span.failed for span in by_name(store).values())


@on_virtual_asyncio
async def test_each_attempt_is_linked_to_the_one_before(store: TraceStore) -> None:
    left = [ConnectionError("one"), ConnectionError("two")]

    @Retry(on=ConnectionError, attempts_max=3, name="pay").protect
    async def flaky() -> None:
        if left:
            raise left.pop(0)

    await flaky()
    spans = by_name(store)
    first, second, third = (spans[f"attempt {number} pay"] for number in (1, 2, 3))
    assert [span.attributes["sdpatterns.attempt"] for span in (first, second, third)] == [1, 2, 3]
    assert first.links == ()
    assert [link.span_id for link in second.links] == [first.span_id]
    assert [link.span_id for link in third.links] == [second.span_id]
    assert [span.failed for span in (first, second, third, spans["Retry pay"])] == [True, True, False, False]
    assert first.attributes["error.type"] == "ConnectionError"
    assert first.error == "ConnectionError: one"
    (event,) = first.events
    assert (event.name, event.attributes["exception.message"]) == ("exception", "one")


async def test_attempts_in_a_loop_are_spans_too(store: TraceStore) -> None:
    retry = Retry(on=ConnectionError, attempts_max=2, base_s=0.0, max_s=0.0, name="pay")
    async for attempt in retry:
        with attempt:
            if attempt.number == 1:
                raise ConnectionError
    spans = by_name(store)
    assert set(spans) == {"attempt 1 pay", "attempt 2 pay"}
    assert [link.span_id for link in spans["attempt 2 pay"].links] == [spans["attempt 1 pay"].span_id]


async def test_a_refusal_says_who_refused_and_why(store: TraceStore) -> None:
    limiter = RateLimiter("api", per_minute(1))
    await limiter.acquire("me")
    store.clear()
    with pytest.raises(RateLimited):
        await Pipeline(CircuitBreaker("psp"), limiter.by("me"), name="pay").protect(nothing)()
    for name in ("RateLimiter api", "CircuitBreaker psp"):
        span = by_name(store)[name]
        assert span.attributes["sdpatterns.outcome"] == "rejected"
        assert span.attributes["sdpatterns.refused_by"] == "api"
        assert span.attributes["error.type"] == "RateLimited"


async def test_a_cancelled_call_is_no_error(store: TraceStore) -> None:
    breaker = CircuitBreaker("psp")
    task = asyncio.create_task(breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = by_name(store).values()
    assert not span.failed
    assert span.attributes["sdpatterns.outcome"] == "cancelled"
    assert "error.type" not in span.attributes


@on_virtual_asyncio
async def test_a_time_that_ran_out_is_a_failure(store: TraceStore) -> None:
    with pytest.raises(DeadlineExceeded):
        await Timeout(1.0, name="psp").call(asyncio.sleep, 5.0)
    with pytest.raises(DeadlineExceeded):
        async with Timeout(1.0, name="passage").guard():
            await asyncio.sleep(5.0)
    assert by_name(store)["Timeout psp"].attributes["sdpatterns.outcome"] == "failure"
    assert by_name(store)["Timeout passage"].attributes["error.type"] == "DeadlineExceeded"


async def test_a_passage_is_a_span_however_it_ends(store: TraceStore) -> None:
    limiter = RateLimiter("api", per_minute(1))
    async with limiter.guard("me"):
        assert here() == context.trace.get() is not None
    with pytest.raises(RateLimited):
        async with limiter.guard("me"):
            pytest.fail("entered")
    spans = [span for summary in store.recent() for span in store.spans(summary.trace_id)]
    assert sorted(span.attributes["sdpatterns.outcome"] for span in spans) == ["rejected", "success"]


def test_plain_functions_and_blocking_programs_have_spans(store: TraceStore) -> None:
    assert CircuitBreaker("plain").protect(lambda: 1)() == 1
    with blocking(CircuitBreaker("door")).guard():
        pass
    assert set(by_name(store)) == {"CircuitBreaker plain", "CircuitBreaker door"}


async def test_our_position_and_opentelemetrys_are_one(store: TraceStore, provider: TracerProvider) -> None:
    seen: list[tuple[Trace | None, Trace | None, int]] = []

    @CircuitBreaker("psp").protect
    async def look() -> None:
        seen.append((here(), context.trace.get(), api.get_current_span().get_span_context().span_id))
        with provider.get_tracer("mine").start_as_current_span("mine"):
            seen.append((here(), None, api.get_current_span().get_span_context().span_id))
            await CircuitBreaker("inner").call(nothing)
            record = logging.makeLogRecord({"msg": "hello"})
            seen.append((Trace("", json.loads(JsonFormatter().format(record))["span_id"]), None, 0))

    await look()
    ours, theirs, logged = seen
    assert ours[0] == ours[1]
    assert ours[0] is not None
    assert int(ours[0].span_id, 16) == ours[2]
    assert theirs[0] is not None
    assert int(theirs[0].span_id, 16) == theirs[2]
    assert logged[0] is not None
    assert logged[0].span_id == theirs[0].span_id
    assert drawn(store) == [(0, "CircuitBreaker psp"), (1, "mine"), (2, "CircuitBreaker inner")]


async def test_a_position_without_a_span_is_the_parent(store: TraceStore) -> None:
    token = context.trace.set(CALLER)
    await CircuitBreaker("psp").call(nothing)
    context.trace.reset(token)
    (span,) = by_name(store).values()
    assert (span.trace_id, span.parent_id) == (CALLER.trace_id, CALLER.span_id)


class Shop:
    """An application that answers with the status it is told, once it looked around."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.seen: list[Trace | None] = []
        self.headers: list[dict[bytes, bytes]] = []

    async def __call__(self, scope, receive, send):
        self.seen.append(context.trace.get())
        self.headers.append(dict(scope["headers"]))
        if not self.statuses:
            raise KeyError("order")
        scope["route"] = type("Route", (), {"path": "/orders/{id}"})
        await send({"type": "http.response.start", "status": self.statuses.pop(0), "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_a_request_is_a_span_in_the_callers_trace(store: TraceStore) -> None:
    shop = Shop(200, 503)
    app = TracingMiddleware(shop, service="orders")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False)) as http:
        for _ in range(3):
            await http.get("http://shop/orders/7?card=4111", headers=CALLER_HEADERS)
    good, bad, broken = sorted(store.spans(CALLER.trace_id), key=lambda span: span.started_us)
    assert (good.name, good.kind, good.service) == ("GET /orders/{id}", "server", "orders")
    assert good.parent_id == CALLER.span_id
    assert good.attributes == {
        "http.request.method": "GET",
        "url.path": "/orders/7",
        "http.response.status_code": 200,
        "http.route": "/orders/{id}",
    }
    assert shop.seen[0] == CALLER._replace(span_id=good.span_id)
    assert (good.failed, bad.failed, broken.failed) == (False, True, True)
    assert broken.attributes["error.type"] == "KeyError"
    assert broken.name == "GET"


async def test_a_public_edge_begins_a_new_trace_whatever_is_current(
    store: TraceStore, provider: TracerProvider
) -> None:
    app = TracingMiddleware(Shop(200), joins_traces=False)
    with provider.get_tracer("mine").start_as_current_span("mine") as mine:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
            await http.get("http://shop/", headers=CALLER_HEADERS)
    span = by_name(store)["GET /orders/{id}"]
    assert span.parent_id == ""
    assert span.trace_id not in {CALLER.trace_id, f"{mine.get_span_context().trace_id:032x}"}


async def test_spans_inside_a_request_belong_to_its_service(store: TraceStore) -> None:
    async def app(scope, receive, send):
        await CircuitBreaker("psp").call(nothing)

    scope = {"type": "http", "method": "ODD", "path": "/", "headers": []}
    await TracingMiddleware(app, service="orders")(scope, None, None)  # type: ignore[arg-type]
    assert {(span.name, span.service) for span in by_name(store).values()} == {
        ("other", "orders"),
        ("CircuitBreaker psp", "orders"),
    }


async def test_what_is_sent_names_the_span_of_the_attempt(store: TraceStore) -> None:
    shop = Shop(503, 200)
    pipeline = Pipeline(Retry(on=httpx.TransportError, base_s=0.0, max_s=0.0), name="psp")
    inner = httpx.ASGITransport(TracingMiddleware(shop, service="psp"))
    token = context.trace.set(CALLER)
    async with httpx.AsyncClient(transport=AsyncTransport(pipeline, inner=inner)) as http:
        assert (await http.get("http://u:secret@shop/orders/7?card=4111#x")).status_code == 200
    context.trace.reset(token)
    rows = waterfall(store.spans(CALLER.trace_id)).rows
    assert [(row.depth, row.name, row.kind) for row in rows] == [
        (0, "Retry psp", "internal"),
        (1, "attempt 1 psp", "internal"),
        (2, "GET", "client"),
        (3, "GET /orders/{id}", "server"),
        (1, "attempt 2 psp", "internal"),
        (2, "GET", "client"),
        (3, "GET /orders/{id}", "server"),
    ]
    sent = [parse_trace([headers[b"traceparent"].decode()]) for headers in shop.headers]
    assert [trace and trace.span_id for trace in sent] == [rows[2].span_id, rows[5].span_id]
    assert [headers[b"tracestate"].decode() for headers in shop.headers] == [CALLER.state] * 2
    refused, taken = rows[2], rows[5]
    assert (refused.failed, refused.attributes["http.response.status_code"]) == (True, 503)
    assert (taken.failed, taken.attributes["http.response.status_code"]) == (False, 200)
    assert taken.attributes["url.full"] == "http://shop/orders/7"


def test_the_blocking_transport_has_spans_too(store: TraceStore) -> None:
    statuses = [503, 200, 404]
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["traceparent"])
        return httpx.Response(statuses.pop(0))

    pipeline = Pipeline(Retry(on=httpx.TransportError, base_s=0.0, max_s=0.0), name="psp")
    with httpx.Client(transport=Transport(pipeline, inner=httpx.MockTransport(answer))) as http:
        assert http.get("http://psp/charge").status_code == 200
        assert http.get("http://psp/none").status_code == 404
    spans = [span for summary in store.recent() for span in store.spans(summary.trace_id) if span.kind == "client"]
    assert {header.split("-")[2] for header in seen} == {span.span_id for span in spans}
    assert sorted(span.failed for span in spans) == [False, True, True]


def test_a_process_has_one_tracer(store: TraceStore) -> None:
    with pytest.raises(ValueError, match="has a tracer already"), trace_with(OpenTelemetryTracer()):
        pytest.fail("entered")


async def test_without_an_sdk_all_goes_on_as_ever() -> None:
    with trace_with(OpenTelemetryTracer()):
        token = context.trace.set(CALLER)
        assert await CircuitBreaker("psp").call(nothing) == "done"
        assert context.trace.get() == CALLER
        context.trace.reset(token)


async def test_raw_verbs_are_spans_and_a_refusal_that_is_not_raised_is_one_all_the_same(store: TraceStore) -> None:
    limiter = RateLimiter("api", per_minute(1))
    assert (await limiter.acquire("me")).allowed
    assert not (await limiter.acquire("me")).allowed
    assert (await limiter.wait("you")).allowed
    with pytest.raises(RateLimited):
        await limiter.wait("you", max_wait_s=0.0)
    spans = [span for summary in reversed(store.recent()) for span in store.spans(summary.trace_id)]
    told = sorted((span.name, span.attributes["sdpatterns.outcome"]) for span in spans)
    assert told == [("RateLimiter api", "rejected")] * 2 + [("RateLimiter api", "success")] * 2


async def test_a_quotas_verb_is_a_span_as_a_limiters_is(store: TraceStore) -> None:
    quota = Quota("partners", daily(1))
    assert (await quota.acquire("me")).allowed
    assert not quota.acquire_now("me").allowed
    spans = [span for summary in reversed(store.recent()) for span in store.spans(summary.trace_id)]
    told = sorted((span.name, span.attributes["sdpatterns.outcome"]) for span in spans)
    assert told == [("Quota partners", "rejected"), ("Quota partners", "success")]


@pytest.mark.parametrize("guard", [RateLimiter("api", per_minute(10)), Quota("partners", daily(10))])
async def test_a_guard_that_acquires_is_one_span_not_two(store: TraceStore, guard: RateLimiter | Quota) -> None:
    assert await guard.by("me").call(nothing) == "done"
    async with guard.guard("me"):
        pass
    assert [summary.spans for summary in store.recent()] == [1, 1]


async def test_an_idempotent_call_that_is_not_decorated_is_a_span_too(store: TraceStore) -> None:
    once = Idempotency("orders", store=MemoryBackend().states)
    assert [await once.call("k", nothing) for _ in range(2)] == ["done", "done"]
    spans = [span for summary in reversed(store.recent()) for span in store.spans(summary.trace_id)]
    assert sorted((span.name, span.attributes["sdpatterns.replayed"]) for span in spans) == [
        ("Idempotency orders", False),
        ("Idempotency orders", True),
    ]


async def test_a_claim_is_a_span_that_ends_before_the_work(store: TraceStore) -> None:
    once = Idempotency("orders", store=MemoryBackend().states)
    taken = await once.claim("k", {"sku": 1})
    assert isinstance(taken, Claim)
    assert context.trace.get() is None
    with pytest.raises(ClaimHeld):
        await once.claim("k", {"sku": 1})
    await taken.store("done")
    assert isinstance(await once.claim("k", {"sku": 1}), Replay)
    spans = [span for summary in store.recent() for span in store.spans(summary.trace_id)]
    told = sorted((span.attributes["sdpatterns.outcome"], span.attributes.get("sdpatterns.replayed")) for span in spans)
    assert told == [("rejected", None), ("success", False), ("success", True)]


async def test_a_replay_and_an_alternative_are_told_without_a_listener(store: TraceStore) -> None:
    once = Idempotency("orders", store=MemoryBackend().states).by("k").protect(nothing)
    assert [await once(), await once()] == ["done", "done"]
    replayed = [span.attributes["sdpatterns.replayed"] for one in store.recent() for span in store.spans(one.trace_id)]
    assert sorted(replayed) == [False, True]
    store.clear()

    async def down() -> str:
        raise ConnectionError

    assert await Fallback(down, "spare", on=ConnectionError, name="quotes").protect(down)() == "spare"
    assert by_name(store)["Fallback quotes"].attributes["sdpatterns.alternative"] == 2


class _Wordless(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


async def test_an_error_that_cannot_be_put_into_words_is_in_its_span_all_the_same(store: TraceStore) -> None:
    @Bulkhead("quotes", concurrent_max=2).protect
    async def fail() -> None:
        raise _Wordless

    with pytest.raises(_Wordless):
        await fail()
    assert api.get_current_span() is api.INVALID_SPAN
    span = by_name(store)["Bulkhead quotes"]
    assert span.failed
    assert span.attributes["error.type"] == "_Wordless"


def test_what_was_current_is_current_again_where_a_span_cannot_end(provider: TracerProvider) -> None:
    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise ZeroDivisionError

    provider.add_span_processor(Broken())
    span = OpenTelemetryTracer(provider).start("quotes", "internal", {}, (), None)
    with pytest.raises(ZeroDivisionError):
        span.end(None)
    assert api.get_current_span() is api.INVALID_SPAN
