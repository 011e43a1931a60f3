"""Rate, errors and duration of protected calls, and the trace of the last one beside each figure."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as in_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sdpatterns import CircuitBreaker, Pipeline, RateLimiter, Retry, Timeout, per_minute
from sdpatterns.core.notices import listen
from sdpatterns.core.tracing import trace_with
from sdpatterns.errors import RateLimited
from sdpatterns.observability.calls import CallMeter, PassageFinished
from sdpatterns.observability.opentelemetry import OpenTelemetryTracer
from sdpatterns.observability.prometheus import PrometheusListener
from sdpatterns.observability.traces import TraceStore
from tests.loops import on_virtual_asyncio

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(store := TraceStore())
    with trace_with(CallMeter(OpenTelemetryTracer(provider))):
        yield store


async def fine():
    return "done"


async def hang():
    await asyncio.sleep(10)


@on_virtual_asyncio
async def test_each_outcome_is_told_with_its_time(store):
    heard = []
    limiter = RateLimiter("api", per_minute(1))
    with listen(lambda notice: heard.append(notice) if isinstance(notice, PassageFinished) else None):
        await limiter.by("me").call(fine)
        with pytest.raises(RateLimited):
            await limiter.by("me").call(fine)
        slow = CircuitBreaker("slow")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow.call(hang), 2.0)
        with pytest.raises(TimeoutError):
            await Pipeline(Timeout(1.5), name="pay").call(hang)
    told = [(one.pattern, one.name, one.outcome, one.duration_s) for one in heard]
    assert told == [
        ("RateLimiter", "api", "success", pytest.approx(0, abs=0.01)),
        ("RateLimiter", "api", "rejected", pytest.approx(0, abs=0.01)),
        ("CircuitBreaker", "slow", "cancelled", pytest.approx(2.0, abs=0.01)),
        ("Timeout", "pay", "failure", pytest.approx(1.5, abs=0.01)),
    ]


async def test_counters_and_buckets_name_the_trace_of_the_last_call(store):
    registry = CollectorRegistry()
    with listen(PrometheusListener(registry)):
        await Pipeline(Retry(on=ConnectionError), CircuitBreaker("psp"), name="pay").call(fine)
    (summary,) = store.recent()
    spans = {span.name: span for span in store.spans(summary.trace_id)}
    families = {family.name: family for family in text_string_to_metric_families(in_openmetrics(registry).decode())}
    counters = families["sdpatterns_passage_finished"].samples
    counted = {one.labels["pattern"]: one for one in counters if one.name.endswith("_total")}
    assert counted.keys() == {"Retry", "CircuitBreaker"}
    exemplar = counted["CircuitBreaker"].exemplar
    assert exemplar.labels == {"trace_id": summary.trace_id, "span_id": spans["CircuitBreaker psp"].span_id}
    buckets = families["sdpatterns_passage_finished_duration_seconds"].samples
    assert {one.exemplar.labels["span_id"] for one in buckets if one.exemplar} == {
        spans["CircuitBreaker psp"].span_id,
        spans["Retry pay"].span_id,
    }
    assert counted["Retry"].labels == {"name": "pay", "pattern": "Retry", "outcome": "success"}


async def test_spans_are_those_of_the_tracer_within(store):
    with pytest.raises(ConnectionError, match="no"):
        await CircuitBreaker("psp").call(_refuse)
    (summary,) = store.recent()
    (span,) = store.spans(summary.trace_id)
    assert (span.name, span.failed, span.attributes["sdpatterns.outcome"]) == ("CircuitBreaker psp", True, "failure")


async def _refuse():
    raise ConnectionError("no")
