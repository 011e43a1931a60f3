"""Notices as Prometheus metrics.

Each kind of notice is a counter, `sdpatterns_<event>_total`, with the notice's labels; each of its
measures is a histogram, `sdpatterns_<event>_<measure>_seconds`. Keys and ids are never labels. In
OpenMetrics a counter carries the trace of its last call, and a bucket that of the last call in it, as
an exemplar, where that is sampled. `ResourceCollector` reads resources at each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sdpatterns.core import tracing
from sdpatterns.core.forks import new_lock
from sdpatterns.core.notices import Notice
from sdpatterns.observability.resources import Resource

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[prometheus]"') from missing

__all__ = ["PrometheusListener", "ResourceCollector"]

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class PrometheusListener:
    """Counts notices in a registry; pass it to `listen`.

    Keeps: at most `series_max` label sets for each event; further ones are counted under the same
    label names with the value `other`, so that a label with too many values cannot fill the memory.
    Raises `ValueError` for a `series_max` below 1.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        buckets_s: Sequence[float] = BUCKETS_S,
        series_max: int = 1_000,
    ) -> None:
        if series_max < 1:
            raise ValueError(f"series_max must be at least 1, got {series_max!r}")
        self._registry = registry
        self._buckets_s = tuple(buckets_s)
        self._series_max = series_max
        self._lock = new_lock()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._series: dict[str, dict[tuple[str, ...], _Series]] = {}

    def __call__(self, notice: Notice) -> None:
        """Count one notice."""
        event, labels = notice.event, notice.labels()
        series = self._series.get(event, {}).get(tuple(labels.values()))
        if series is None:
            series = self._bounded(event, labels)
        exemplar = _exemplar()
        series.count.inc(1, exemplar)
        for measure, value in notice.measures().items():
            series.measured(measure).observe(value, exemplar)

    def _bounded(self, event: str, labels: dict[str, str]) -> _Series:
        # A lone surrogate would make every later exposition fail.
        labels = {name: value.encode("utf-8", "replace").decode() for name, value in labels.items()}
        with self._lock:
            known = self._series.setdefault(event, {})
            if tuple(labels.values()) not in known and len(known) >= self._series_max:
                labels = dict.fromkeys(labels, "other")
            values = tuple(labels.values())
            if values not in known:
                count = self._counter(event, labels).labels(**labels)
                known[values] = _Series(count, lambda measure: self._histogram(event, measure, labels).labels(**labels))
            return known[values]

    def _counter(self, event: str, labels: dict[str, str]) -> Counter:
        if event not in self._counters:
            self._counters[event] = Counter(
                f"sdpatterns_{event}", f"Notices of {event}", list(labels), registry=self._registry
            )
        return self._counters[event]

    def _histogram(self, event: str, measure: str, labels: dict[str, str]) -> Histogram:
        name = f"sdpatterns_{event}_{measure.removesuffix('_s')}_seconds"
        with self._lock:
            if name not in self._histograms:
                self._histograms[name] = Histogram(
                    name,
                    f"{measure} of {event}",
                    list(labels),
                    buckets=self._buckets_s,
                    registry=self._registry,
                )
            return self._histograms[name]


class _Series:
    """What is counted and measured under one set of labels, looked up once."""

    __slots__ = ("_make", "_measured", "count")

    def __init__(self, count: Counter, make: Callable[[str], Histogram]) -> None:
        self.count = count
        self._make = make
        self._measured: dict[str, Histogram] = {}

    def measured(self, measure: str) -> Histogram:
        """The histogram of a measure."""
        found = self._measured.get(measure)
        if found is None:
            found = self._measured[measure] = self._make(measure)
        return found


class ResourceCollector(Collector):
    """Utilisation, saturation and errors of resources, read at each scrape: `registry.register(it)`.

    `sdpatterns_resource_used`, `_capacity`, `_waiting` and `_errors_total`, by `kind` and `name`; what
    a resource cannot know is left out.
    """

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._resources = tuple(resources)

    def collect(self) -> Iterator[Metric]:
        """One reading of each."""
        labels = ["kind", "name"]
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
            "used": GaugeMetricFamily("sdpatterns_resource_used", "How much is in use", labels=labels),
            "capacity": GaugeMetricFamily("sdpatterns_resource_capacity", "How much there is", labels=labels),
            "waiting": GaugeMetricFamily("sdpatterns_resource_waiting", "What had to wait or go beyond", labels=labels),
            "errors": CounterMetricFamily("sdpatterns_resource_errors", "How often it failed", labels=labels),
        }
        for reading in (resource() for resource in self._resources):
            for field, family in families.items():
                value = getattr(reading, field)
                if value is not None:
                    family.add_metric([reading.kind, reading.name], value)
        yield from families.values()


def _exemplar() -> dict[str, str] | None:
    here = tracing.here()
    return {"trace_id": here.trace_id, "span_id": here.span_id} if here is not None and here.sampled else None
