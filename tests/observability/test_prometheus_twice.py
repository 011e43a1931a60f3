"""Two listeners on one registry: two apps in one process, or an app that a test builds again."""

from __future__ import annotations

import gc
import weakref

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from sdpatterns import CircuitBreaker, listen
from sdpatterns.observability.prometheus import PrometheusListener
from tests.threads import in_threads

OPENED = 'sdpatterns_circuit_opened_total{name="quotes",reason="manual"}'


def opened(registry: CollectorRegistry) -> float:
    found = [line for line in generate_latest(registry).decode().splitlines() if line.startswith(OPENED)]
    return float(found[0].split()[-1]) if found else 0.0


def open_once() -> None:
    CircuitBreaker("quotes").open()


def test_one_after_the_other_count_on() -> None:
    registry = CollectorRegistry()
    for _ in range(3):
        with listen(PrometheusListener(registry)):
            open_once()
    assert opened(registry) == 3


def test_side_by_side_they_count_each_event_once() -> None:
    registry, other = CollectorRegistry(), CollectorRegistry()
    with listen(PrometheusListener(registry)), listen(PrometheusListener(other)), listen(PrometheusListener(registry)):
        for _ in range(2):
            open_once()
        in_threads(open_once, 8)
    assert (opened(registry), opened(other)) == (10, 10)


def test_settings_that_differ_on_one_registry_are_refused() -> None:
    registry = CollectorRegistry()
    PrometheusListener(registry)
    with pytest.raises(ValueError, match="listener with other buckets_s or series_max"):
        PrometheusListener(registry, buckets_s=[1.0])
    with pytest.raises(ValueError, match="listener with other buckets_s or series_max"):
        PrometheusListener(registry, series_max=7)


def test_a_registry_is_not_kept_alive() -> None:
    registry = CollectorRegistry()
    with listen(PrometheusListener(registry)):
        open_once()
    watched = weakref.ref(registry)
    del registry
    gc.collect()
    assert watched() is None
