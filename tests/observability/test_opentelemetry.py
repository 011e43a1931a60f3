"""Notices for OpenTelemetry, read back from a real SDK."""

from dataclasses import dataclass

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sdpatterns.core.notices import Notice, listen, tell
from sdpatterns.observability.opentelemetry import OpenTelemetryListener


@dataclass(frozen=True, kw_only=True, slots=True)
class CallEnded(Notice):
    """A notice of this test."""

    duration_s: float

    def measures(self):
        return {"duration_s": self.duration_s}


def test_a_notice_is_an_event_on_the_current_span():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with listen(OpenTelemetryListener()):
        with provider.get_tracer("test").start_as_current_span("work"):
            tell(CallEnded(name="psp", duration_s=0.5))
        tell(CallEnded(name="psp", duration_s=0.5))

    (span,) = exporter.get_finished_spans()
    assert [event.name for event in span.events] == ["sdpatterns.call_ended"]
    assert span.events[0].attributes == {"sdpatterns.name": "psp"}
    provider.shutdown()


def test_a_notice_is_counted_and_measured():
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    with listen(OpenTelemetryListener(meter_provider=provider)):
        tell(CallEnded(name="psp", duration_s=0.5))
        tell(CallEnded(name="psp", duration_s=1.5))

    data = reader.get_metrics_data()
    found = {metric.name: metric.data.data_points[0] for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert found["sdpatterns.call_ended"].value == 2
    assert found["sdpatterns.call_ended.duration"].sum == 2.0
    assert dict(found["sdpatterns.call_ended"].attributes) == {"name": "psp"}
    provider.shutdown()
