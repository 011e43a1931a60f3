"""The store of traces, fed by a real SDK."""

from __future__ import annotations

import threading

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from sdpatterns.observability.traces import TraceStore, waterfall

SECOND_NS = 1_000_000_000


def traced(store, **settings):
    resource = Resource({"service.name": "shop", "service.instance.id": "shop-1"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False, **settings)
    provider.add_span_processor(store)
    return provider.get_tracer("test")


def one(tracer, name, length_s=0.001, *, failed=False, at_s=1):
    span = tracer.start_span(name, context=api.set_span_in_context(api.INVALID_SPAN), start_time=at_s * SECOND_NS)
    if failed:
        span.set_status(api.StatusCode.ERROR, "boom")
    span.end(end_time=int((at_s + length_s) * SECOND_NS))
    return f"{span.get_span_context().trace_id:032x}"


def test_a_trace_is_kept_with_all_it_tells():
    store = TraceStore()
    tracer = traced(store)
    with tracer.start_as_current_span("GET /cart", kind=api.SpanKind.SERVER) as root:
        with tracer.start_as_current_span("look", attributes={"n": 1, "long": "x" * 2_000, "many": ["a", "b"]}) as look:
            look.add_event("noticed", {"key": "k"})
        links = [api.Link(look.get_span_context())]
        with pytest.raises(KeyError), tracer.start_as_current_span("again", links=links):
            raise KeyError("boom")

    (summary,) = store.recent()
    assert (summary.name, summary.service, summary.spans, summary.failed) == ("GET /cart", "shop", 3, True)
    assert summary.has_root
    spans = {span.name: span for span in store.spans(summary.trace_id)}
    assert set(spans) == {"GET /cart", "look", "again"}
    looked = spans["look"]
    assert (looked.parent_id, looked.instance, looked.kind) == (spans["GET /cart"].span_id, "shop-1", "internal")
    assert looked.attributes == {"n": 1, "long": "x" * 1_000, "many": ["a", "b"]}
    assert [(event.name, event.attributes) for event in looked.events] == [("noticed", {"key": "k"})]
    assert [(link.trace_id, link.span_id) for link in spans["again"].links] == [(summary.trace_id, looked.span_id)]
    assert spans["again"].failed
    assert spans["again"].events[0].name == "exception"
    assert spans["GET /cart"].kind == "server"
    assert [row.name for row in waterfall(spans.values()).rows] == ["GET /cart", "look", "again"]
    assert root.get_span_context().span_id == int(spans["GET /cart"].span_id, 16)


def test_the_last_traces_are_kept_and_no_more():
    store = TraceStore(traces_max=3)
    tracer = traced(store)
    for number in range(10):
        one(tracer, f"{number}", at_s=number + 1)
    assert [summary.name for summary in store.recent()] == ["9", "8", "7"]
    assert [summary.name for summary in store.recent(1)] == ["9"]
    assert store.recent(-1) == []
    store.clear()
    assert store.recent() == []


def test_of_a_trace_with_too_many_spans_the_root_stays():
    store = TraceStore(spans_max=4)
    tracer = traced(store)
    with tracer.start_as_current_span("root") as root:
        for number in range(10):
            tracer.start_span(f"{number}").end()
    (summary,) = store.recent()
    assert (summary.name, summary.spans, summary.dropped) == ("root", 4, 7)
    found = store.spans(f"{root.get_span_context().trace_id:032x}")
    assert [span.name for span in found] == ["7", "8", "9", "root"]


def test_notable_traces_stay_longer_but_take_no_more_than_half():
    store = TraceStore(traces_max=6, slow_s=0.5)
    tracer = traced(store)
    one(tracer, "failed", failed=True)
    one(tracer, "slow", 0.5)
    for number in range(20):
        one(tracer, f"{number}", at_s=number + 2)
    assert {summary.name for summary in store.recent()} == {"failed", "slow", "16", "17", "18", "19"}
    for number in range(20):
        one(tracer, f"f{number}", failed=True, at_s=number + 30)
    assert {summary.name for summary in store.recent()} == {"17", "18", "19", "f17", "f18", "f19"}


def test_a_trace_that_fails_later_becomes_notable():
    store = TraceStore(traces_max=2)
    tracer = traced(store)
    with tracer.start_as_current_span("root") as root:
        tracer.start_span("fine").end()
        root.set_status(api.StatusCode.ERROR)
    for number in range(5):
        one(tracer, f"{number}", at_s=number + 1)
    assert {summary.name for summary in store.recent()} == {"root", "4"}


def test_an_unknown_trace_has_no_spans_and_one_not_sampled_is_not_kept():
    store = TraceStore()
    one(traced(store, sampler=ALWAYS_OFF), "unseen")
    assert store.recent() == []
    assert store.spans("ab" * 16) == []
    assert store.spans("no such thing") == []


def test_many_threads_end_spans_and_look_at_once():
    store = TraceStore(traces_max=50, spans_max=5)
    tracer = traced(store)

    def work():
        for _ in range(200):
            with tracer.start_as_current_span("root"):
                for _ in range(6):
                    tracer.start_span("child").end()
            assert len(store.recent(10)) <= 10

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.recent(100)
    assert len(found) == 50
    # One whose thread had to wait for long may have been dropped meanwhile, and begun again.
    assert all(1 <= summary.spans <= 5 for summary in found)


@pytest.mark.parametrize("settings", [{"traces_max": 0}, {"spans_max": 0}, {"slow_s": 0.0}])
def test_bad_bounds_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        TraceStore(**settings)
