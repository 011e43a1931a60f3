"""Notices as Prometheus metrics.

Each kind of notice is a counter, `sdpatterns_<event>_total`, with the notice's labels; each of its
measures is a histogram, `sdpatterns_<event>_<measure>_seconds`. Keys and ids are never labels. In
OpenMetrics a counter carries the trace of its last call, and a bucket that of the last call in it, as
an exemplar, where that is sampled. `ResourceCollector` reads resources at each scrape.
"""

from __future__ import annotations

import threading
import weakref
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


_NOTHING: tuple[object, object] = (None, None)


class PrometheusListener:
    """Counts notices in a registry; pass it to `observe` or `listen`.

    Keeps: at most `series_max` label sets for each event; further ones are counted under the same
    label names with the value `other`, so that a label with too many values cannot fill the memory.
    Listeners on one registry, as of two apps in one process, share its metrics and count each notice once.
    Raises `ValueError` for a `series_max` below 1, or for other settings than the registry's first listener has.
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
        self._mark = object()
        self._metrics = _metrics_of(registry, tuple(buckets_s), series_max)

    def __call__(self, notice: Notice) -> None:
        metrics = self._metrics
        # All listeners are told of a notice one after the other: another one on this registry may have counted it.
        last, by = getattr(metrics.counted, "last", _NOTHING)
        if last is notice and by is not self._mark:
            return
        metrics.counted.last = notice, self._mark
        event, labels = notice.event, notice.labels()
        series = metrics.series.get(event, {}).get(tuple(labels.values()))
        if series is None:
            series = metrics.bounded(event, labels, self._registry)
        exemplar = _exemplar()
        series.count.inc(1, exemplar)
        for measure, value in notice.measures().items():
            series.measured(measure, self._registry).observe(value, exemplar)

    def declare(self, *notices: Notice) -> None:
        """Let the series of these notices begin at 0 now, so that the first such notice is an increase from 0 to 1.

        Without it a series begins with its first notice, at 1, and `increase` in Prometheus does not see that one. Only
        the name and the labels of a notice matter here.
        """
        for notice in notices:
            event, labels = notice.event, notice.labels()
            series = self._metrics.bounded(event, labels, self._registry)
            for measure in notice.measures():
                series.measured(measure, self._registry)


class _Metrics:
    """The metrics of one registry. It does not hold the registry, which would then never be collected."""

    def __init__(self, buckets_s: tuple[float, ...], series_max: int) -> None:
        self.settings = buckets_s, series_max
        self.series: dict[str, dict[tuple[str, ...], _Series]] = {}
        self.counted = threading.local()
        self._lock = new_lock()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def bounded(self, event: str, labels: dict[str, str], registry: CollectorRegistry) -> _Series:
        """The series of these labels, or the one for all that are too many."""
        # A lone surrogate would make every later exposition fail.
        labels = {name: value.encode("utf-8", "replace").decode() for name, value in labels.items()}
        with self._lock:
            known = self.series.setdefault(event, {})
            if tuple(labels.values()) not in known and len(known) >= self.settings[1]:
                labels = dict.fromkeys(labels, "other")
            values = tuple(labels.values())
            if values not in known:
                count = self._counter(event, labels, registry).labels(**labels)
                known[values] = _Series(
                    count, lambda measure, where: self._histogram(event, measure, labels, where).labels(**labels)
                )
            return known[values]

    def _counter(self, event: str, labels: dict[str, str], registry: CollectorRegistry) -> Counter:
        if event not in self._counters:
            self._counters[event] = Counter(
                f"sdpatterns_{event}", f"Notices of {event}", list(labels), registry=registry
            )
        return self._counters[event]

    def _histogram(self, event: str, measure: str, labels: dict[str, str], registry: CollectorRegistry) -> Histogram:
        name = f"sdpatterns_{event}_{measure.removesuffix('_s')}_seconds"
        with self._lock:
            if name not in self._histograms:
                self._histograms[name] = Histogram(
                    name, f"{measure} of {event}", list(labels), buckets=self.settings[0], registry=registry
                )
            return self._histograms[name]


_METRICS: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()
_METRICS_LOCK = new_lock()


def _metrics_of(registry: CollectorRegistry, buckets_s: tuple[float, ...], series_max: int) -> _Metrics:
    with _METRICS_LOCK:
        found = _METRICS.setdefault(registry, _Metrics(buckets_s, series_max))
    if found.settings != (buckets_s, series_max):
        raise ValueError("this registry has a listener with other buckets_s or series_max: give both the same")
    return found


class _Series:
    """What is counted and measured under one set of labels, looked up once."""

    __slots__ = ("_make", "_measured", "count")

    def __init__(self, count: Counter, make: Callable[[str, CollectorRegistry], Histogram]) -> None:
        self.count = count
        self._make = make
        self._measured: dict[str, Histogram] = {}

    def measured(self, measure: str, registry: CollectorRegistry) -> Histogram:
        found = self._measured.get(measure)
        if found is None:
            found = self._measured[measure] = self._make(measure, registry)
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
