"""Spans and metrics to a collector, if the environment asks for it.

```
OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 OTEL_SERVICE_NAME=shop python -m shop
```
```
with configured("shop"):      # in the program's own start-up; without an endpoint it does nothing
    ...
```

| variable | meaning |
|---|---|
| `OTEL_EXPORTER_OTLP_ENDPOINT`, `…_TRACES_ENDPOINT`, `…_METRICS_ENDPOINT` | where to; nothing is sent without |
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | who sends; stronger than what the program says |
| `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER` | `otlp`, or `none` for nothing |
| `OTEL_EXPORTER_OTLP_PROTOCOL` | `http/protobuf`; any other is refused |
| `OTEL_SDK_DISABLED` | `true` for nothing at all |

The SDK reads the rest itself: `OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`, `…_COMPRESSION`,
`OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_METRIC_EXPORT_INTERVAL`. Source: the OpenTelemetry
specification's pages on SDK environment variables and on the OTLP exporter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sdpatterns.core.notices import listen
from sdpatterns.core.tracing import trace_with
from sdpatterns.observability.opentelemetry import OpenTelemetryListener, OpenTelemetryTracer
from sdpatterns.observability.span_redaction import RedactingExporter

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[otlp]"') from missing

__all__ = ["configured"]

_PROTOCOL = "http/protobuf"


@contextmanager
def configured(service: str = "unknown_service") -> Iterator[trace.TracerProvider]:
    """Send spans and metrics over OTLP until the block ends; does nothing unless the environment names a collector.

    Gives the provider, for instrumentations of other libraries; it is one that makes no spans where
    none are asked for.

    **Keeps**: spans leave without secrets and card numbers. Whatever has ended when the block does is
    sent, as far as the collector answers. A collector that is away, or slow, delays no call: spans
    wait in a bounded queue and are dropped when it is full.
    **May fail** with `ValueError` at the start: for a protocol or an exporter that is not here, and
    where the process has a tracer already.
    **Costs** one thread for spans and one for metrics; the end of the block waits for the last
    answer, `OTEL_EXPORTER_OTLP_TIMEOUT` seconds at most each.
    """
    with ExitStack() as stack:
        resource = Resource.create({"service.name": service}).merge(OTELResourceDetector().detect())
        provider: trace.TracerProvider = trace.NoOpTracerProvider()
        if _is_asked("traces"):
            provider = _tracing(stack, resource)
        if _is_asked("metrics"):
            _counting(stack, resource)
        yield provider


def _tracing(stack: ExitStack, resource: Resource) -> TracerProvider:
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    stack.callback(provider.shutdown)
    provider.add_span_processor(BatchSpanProcessor(RedactingExporter(OTLPSpanExporter())))
    stack.enter_context(trace_with(OpenTelemetryTracer(provider)))
    return provider


def _counting(stack: ExitStack, resource: Resource) -> None:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    stack.callback(provider.shutdown)
    stack.enter_context(listen(OpenTelemetryListener(meter_provider=provider)))


def _is_asked(signal: str) -> bool:
    if _said("OTEL_SDK_DISABLED").lower() == "true":
        return False
    exporter = _said(f"OTEL_{signal.upper()}_EXPORTER") or "otlp"
    wanted = f"OTEL_EXPORTER_OTLP_{signal.upper()}"
    if exporter == "none" or not (_said(f"{wanted}_ENDPOINT") or _said("OTEL_EXPORTER_OTLP_ENDPOINT")):
        return False
    protocol = _said(f"{wanted}_PROTOCOL") or _said("OTEL_EXPORTER_OTLP_PROTOCOL") or _PROTOCOL
    if exporter != "otlp":
        raise ValueError(f"OTEL_{signal.upper()}_EXPORTER must be otlp or none, got {exporter!r}")
    if protocol != _PROTOCOL:
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL must be {_PROTOCOL}, got {protocol!r}")
    return True


def _said(variable: str) -> str:
    return os.environ.get(variable, "").strip()
