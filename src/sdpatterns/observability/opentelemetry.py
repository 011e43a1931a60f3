"""Notices for OpenTelemetry, through its API alone: which SDK and exporter run is the user's choice.

A notice becomes an event on the current span and one more on a counter; each of its measures is
recorded in a histogram. Without an SDK all of it is a no-op.
"""

from __future__ import annotations

from sdpatterns.core.notices import Notice

try:
    from opentelemetry import metrics, trace
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[opentelemetry]"') from missing

__all__ = ["OpenTelemetryListener"]


class OpenTelemetryListener:
    """Hand it to `listen`. Meters and the current span come from the API's global providers."""

    def __init__(
        self,
        *,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._meter = metrics.get_meter("sdpatterns", meter_provider=meter_provider)
        self._counters: dict[str, metrics.Counter] = {}
        self._histograms: dict[str, metrics.Histogram] = {}

    def __call__(self, notice: Notice) -> None:
        """Put one notice on the current span and into the meters."""
        event = notice.event
        labels = notice.labels()
        span = trace.get_current_span()
        if span.is_recording():
            span.add_event(f"sdpatterns.{event}", {f"sdpatterns.{k}": v for k, v in labels.items()})
        counter = self._counters.get(event)
        if counter is None:
            counter = self._counters[event] = self._meter.create_counter(f"sdpatterns.{event}")
        counter.add(1, labels)
        for measure, value in notice.measures().items():
            self._histogram(event, measure).record(value, labels)

    def _histogram(self, event: str, measure: str) -> metrics.Histogram:
        name = f"sdpatterns.{event}.{measure.removesuffix('_s')}"
        histogram = self._histograms.get(name)
        if histogram is None:
            histogram = self._histograms[name] = self._meter.create_histogram(name, unit="s")
        return histogram
