"""`observe` turns on listeners and a tracer for the whole program."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from sdpatterns import CircuitBreaker, observe
from sdpatterns.core.notices import LISTENERS, Notice
from sdpatterns.core.tracing import TRACERS
from sdpatterns.observability.calls import CallMeter, PassageFinished
from sdpatterns.observability.observing import _RUNNING
from sdpatterns.observability.opentelemetry import OpenTelemetryTracer
from sdpatterns.observability.traces import TraceStore

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def nothing_stays_on() -> Iterator[None]:
    before = list(LISTENERS), list(TRACERS)
    yield
    assert before == (LISTENERS, TRACERS)


def traced_into(store: TraceStore) -> OpenTelemetryTracer:
    provider = TracerProvider()
    provider.add_span_processor(store)
    return OpenTelemetryTracer(provider)


def test_it_lasts_although_its_result_is_dropped() -> None:
    first: list[Notice] = []
    second: list[Notice] = []
    observe(first.append, second.append)
    gc.collect()
    CircuitBreaker("quotes").open()
    assert [notice.event for notice in first] == [notice.event for notice in second] == ["circuit_opened"]
    for running in tuple(_RUNNING):
        running.stop()


async def test_calls_are_spans_and_are_counted_once() -> None:
    heard: list[Notice] = []
    for wrap in (lambda tracer: tracer, CallMeter):
        store, breaker = TraceStore(), CircuitBreaker("quotes")

        async def quote() -> float:
            return 1.0

        heard.clear()
        with observe(heard.append, tracer=wrap(traced_into(store))):
            await breaker.protect(quote)()
        assert [summary.name for summary in store.recent()] == ["CircuitBreaker quotes"]
        assert [type(notice) for notice in heard] == [PassageFinished]


def test_stopping_turns_off_and_may_be_repeated() -> None:
    heard: list[Notice] = []
    observation = observe(heard.append, tracer=traced_into(TraceStore()))
    observation.stop()
    observation.stop()
    CircuitBreaker("quotes").open()
    assert heard == []
    with observe(tracer=traced_into(TraceStore())):  # the place of the tracer is free again
        assert not isinstance(TRACERS[0], CallMeter)


def test_where_one_part_is_refused_nothing_is_turned_on() -> None:
    async def listener(notice: Any) -> None:
        """Never awaited."""

    with pytest.raises(TypeError, match="listener must be a plain function"):
        observe(lambda notice: None, listener, tracer=traced_into(TraceStore()))  # type: ignore[arg-type]
    with observe(tracer=traced_into(TraceStore())), pytest.raises(ValueError, match="has a tracer already"):
        observe(tracer=traced_into(TraceStore()))
