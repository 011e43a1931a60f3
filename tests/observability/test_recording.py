"""Spans that are kept without OpenTelemetry: the same facts, and no secret when they are read."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sdpatterns import Bulkhead, Pipeline, Retry, Timeout, listen, trace_with
from sdpatterns.core import context
from sdpatterns.core.tracecontext import new_trace
from sdpatterns.core.tracing import NOWHERE, TRACERS, Opened
from sdpatterns.errors import BulkheadFull
from sdpatterns.observability.recording import RecordingTracer, SpanStore, current_span, note_on_span
from sdpatterns.observability.spans import SpanRecord
from sdpatterns.observability.waterfall import waterfall

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> Iterator[SpanStore]:
    """Gets every span while the test runs; nothing of tracing may be left behind."""
    store = SpanStore()
    with trace_with(RecordingTracer(store)), listen(note_on_span):
        yield store
    assert TRACERS == []
    assert context.trace.get() is None
    assert current_span() is None


def only(store: SpanStore) -> SpanRecord:
    (summary,) = store.recent()
    (span,) = store.spans(summary.trace_id)
    return span


async def test_each_part_of_a_pipeline_is_a_span_in_the_one_around_it(store: SpanStore) -> None:
    failures = iter([ConnectionError("reset"), None])

    async def fetch() -> None:
        if (failure := next(failures)) is not None:
            raise failure

    quotes = Pipeline(Retry(on=ConnectionError), Bulkhead("slots", concurrent_max=1), name="quotes")
    await quotes.call(fetch)
    (summary,) = store.recent()
    found = store.spans(summary.trace_id)
    assert [(row.depth, row.name) for row in waterfall(found).rows] == [
        (0, "Retry quotes"),
        (1, "attempt 1 quotes"),
        (2, "Bulkhead slots"),
        (1, "attempt 2 quotes"),
        (2, "Bulkhead slots"),
    ]
    spans = {span.name: span for span in found}
    first, second = spans["attempt 1 quotes"], spans["attempt 2 quotes"]
    assert [link.span_id for link in second.links] == [first.span_id]
    assert (first.failed, first.error, second.failed) == (True, "ConnectionError: reset", False)
    assert first.events[-1].attributes == {"exception.type": "ConnectionError", "exception.message": "reset"}
    assert summary.failed


def test_no_secret_and_no_card_number_is_read_out_of_a_span(store: SpanStore) -> None:
    def pay() -> None:
        with Opened("pay 4111111111111111", facts={"token": "t-1"}) as span:
            span.note("url.full", "https://me:hush@shop.test/?password=hush")
            span.note("long", "x" * 2_000)
            span.fail("Bearer abcdefghij")
            recorded = current_span()
            assert recorded is not None
            recorded.add_event("asked", {"secret": "hush", "header": "Cookie: a=b"})
            raise ValueError("card 4111 1111 1111 1111 with api_key=hush")

    with pytest.raises(ValueError, match="4111"):
        pay()
    found = only(store)
    assert "hush" not in repr(found)
    assert "t-1" not in repr(found)
    assert "4111" not in repr(found)
    assert found.name == "pay ************1111"
    assert found.error == "ValueError: card **** **** **** 1111 with api_key=***"
    assert found.attributes["token"] == "***"
    assert len(found.attributes["long"]) == 1_000


def test_a_caller_decides_and_else_the_sampler_does_for_the_whole_trace() -> None:
    store = SpanStore()
    tracer = RecordingTracer(store, samples=lambda facts: facts.get("url.path") != "/livez")
    with trace_with(tracer):
        for path in ("/livez", "/cart"):
            with Opened("GET", "server", {"url.path": path, "service.name": "shop"}, parent=NOWHERE), Opened("inside"):
                assert context.trace.get() is not None
        for sampled in (True, False):
            with Opened(
                "GET", "server", {"url.path": "/livez"}, parent=new_trace(sampled=sampled)._replace(state="a=b")
            ):
                here = context.trace.get()
                assert here is not None
                assert (here.sampled, here.state, here.random) == (sampled, "a=b", True)
    newest, oldest = sorted(store.recent(), key=lambda summary: summary.spans)
    assert (newest.spans, oldest.spans, newest.has_root) == (1, 2, False)
    assert {span.service for span in store.spans(oldest.trace_id)} == {"shop"}


async def test_a_cancelled_call_and_a_refusal_are_no_errors_of_their_own_kind(store: SpanStore) -> None:
    slots = Bulkhead("slots", concurrent_max=1)
    waiting = asyncio.create_task(slots.call(asyncio.sleep, 60))
    await asyncio.sleep(0)
    with pytest.raises(BulkheadFull):
        await slots.call(asyncio.sleep, 0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    outcomes = {
        span.attributes["sdpatterns.outcome"]: span for each in store.recent() for span in store.spans(each.trace_id)
    }
    assert set(outcomes) == {"cancelled", "rejected"}
    assert not outcomes["cancelled"].failed
    assert outcomes["rejected"].attributes["sdpatterns.refused_by"] == "slots"


async def test_spans_of_tasks_stand_in_the_span_that_made_them(store: SpanStore) -> None:
    with Opened("own"):
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(Timeout(1.0, name="t").call(asyncio.sleep, 0))
    (own,) = store.recent()
    assert [row.depth for row in waterfall(store.spans(own.trace_id)).rows] == [0, 1, 1, 1]


def test_a_span_keeps_no_more_events_than_its_bound(store: SpanStore) -> None:
    with Opened("busy"):
        span = current_span()
        assert span is not None
        for number in range(500):
            span.add_event("again", {"number": number})
    assert len(only(store).events) == 128


def test_an_error_that_cannot_be_put_into_words_is_recorded_all_the_same(store: SpanStore) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    with pytest.raises(Mute), Opened("call"):
        raise Mute
    assert only(store).error.endswith("Mute: ")


def test_it_needs_no_other_library() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from sdpatterns.observability.recording import RecordingTracer, SpanStore; print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ok\n"


def test_the_spans_of_a_trace_are_read_again_only_when_there_are_more(store: SpanStore) -> None:
    reads: list[str] = []

    def ends(trace_id: str, name: str) -> None:
        def read() -> SpanRecord:
            reads.append(name)
            return SpanRecord(trace_id=trace_id, span_id=name, name=name, started_us=1, ended_us=2)

        store.keep(trace_id, read, started_us=1, ended_us=2, failed=False)

    ends("a" * 32, "a1")
    ends("b" * 32, "b1")
    assert [store.recent() for _ in range(3)] == [store.recent()] * 3
    assert sorted(reads) == ["a1", "b1"]
    ends("a" * 32, "a2")
    assert {each.trace_id[0]: each.spans for each in store.recent()} == {"a": 2, "b": 1}
    assert sorted(reads) == ["a1", "a1", "a2", "b1"]
    store.clear()
    assert store.recent() == []
