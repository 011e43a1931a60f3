"""What a scraper reads: judged by Prometheus' own tool and by the OpenMetrics parser."""

from __future__ import annotations

import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as in_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sdpatterns.core import context
from sdpatterns.core.context import Trace
from sdpatterns.core.notices import listen, tell
from sdpatterns.observability.calls import PassageFinished
from sdpatterns.observability.prometheus import PrometheusListener, ResourceCollector
from sdpatterns.observability.resources import Reading
from sdpatterns.resilience.breaker.notices import CircuitOpened
from sdpatterns.resilience.retry.notices import RetryScheduled
from sdpatterns.traffic.ratelimit.notices import LimitReached
from sdpatterns.web.notices import RequestFinished

HERE = Trace("4b" * 16, "ab" * 8)
NOTICES = [
    RequestFinished(name="shop", method="GET", route='/odd"\\\n{id}', status=200, duration_s=0.02),
    CircuitOpened(name="psp", key="", reason="consecutive", open_s=1.0),
    RetryScheduled(name="psp", attempt=1, delay_s=0.1, error="ConnectionError"),
    LimitReached(name="api", key="me", retry_after_s=1.0),
    PassageFinished(name="psp", pattern="CircuitBreaker", outcome="failure", duration_s=0.3),
]


@pytest.fixture(params=[HERE, HERE._replace(sampled=False)], ids=["sampled", "not sampled"])
def told(request: pytest.FixtureRequest) -> tuple[CollectorRegistry, Trace]:
    registry, token = CollectorRegistry(), context.trace.set(request.param)
    registry.register(ResourceCollector([lambda: Reading("pool", 'o"dd', 3, 4, 1, 2)]))
    with listen(PrometheusListener(registry)):
        for notice in NOTICES:
            tell(notice)
    context.trace.reset(token)
    return registry, request.param


def test_promtool_finds_nothing_to_complain_of(told: tuple[CollectorRegistry, Trace], promtool: str) -> None:
    text = generate_latest(told[0])
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_promtool_would_complain(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=b"# TYPE bad counter\nbad 1\n",
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0


def test_openmetrics_is_read_back_with_the_trace_of_a_bucket(told: tuple[CollectorRegistry, Trace]) -> None:
    registry, position = told
    families = {family.name: family for family in text_string_to_metric_families(in_openmetrics(registry).decode())}
    opened = families["sdpatterns_circuit_opened"].samples[0]
    assert opened.value == 1
    assert (opened.exemplar is not None) == position.sampled
    buckets = families["sdpatterns_request_finished_duration_seconds"].samples
    found = [sample.exemplar for sample in buckets if sample.exemplar]
    if position.sampled:
        (exemplar,) = found
        assert exemplar.labels == {"trace_id": HERE.trace_id, "span_id": HERE.span_id}
        assert exemplar.value == 0.02
    else:
        assert found == []
