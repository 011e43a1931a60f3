"""Spans as a real SDK ends them, kept in this process; and Prometheus' own tool."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider

from sdpatterns import trace_with
from sdpatterns.core import context
from sdpatterns.core.tracing import TRACERS
from sdpatterns.observability.opentelemetry import OpenTelemetryTracer
from sdpatterns.observability.traces import TraceStore
from tests.programs import needed


@pytest.fixture
def promtool() -> str:
    return needed("promtool", "prometheus")


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


@pytest.fixture
def store(provider: TracerProvider) -> Iterator[TraceStore]:
    """Gets every span while the test runs; nothing of tracing may be left behind."""
    store = TraceStore()
    provider.add_span_processor(store)
    with trace_with(OpenTelemetryTracer(provider)):
        yield store
    assert TRACERS == []
    assert context.trace.get() is None
    assert api.get_current_span() is api.INVALID_SPAN
