"""Export over OTLP, read by a collector of our own that decodes what it is sent."""

from __future__ import annotations

import gzip
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sdpatterns import CircuitBreaker
from sdpatterns.core.notices import LISTENERS
from sdpatterns.core.tracing import TRACERS, here
from sdpatterns.observability.otlp import configured

pytestmark = pytest.mark.anyio


class Collector(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.headers: list[Any] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> dict[str, Any]:
        scopes = [scope for sent in self.traces for one in sent.resource_spans for scope in one.scope_spans]
        return {span.name: span for scope in scopes for span in scope.spans}

    def resource(self) -> dict[str, str]:
        return {each.key: each.value.string_value for each in self.traces[0].resource_spans[0].resource.attributes}


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        kinds: dict[str, Any] = {
            "/v1/traces": (self.server.traces, ExportTraceServiceRequest),
            "/v1/metrics": (self.server.metrics, ExportMetricsServiceRequest),
        }
        kept, kind = kinds[self.path]
        self.server.headers.append(self.headers)
        kept.append(kind.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def refuse() -> None:
    raise ConnectionError("no to 4000 0000 0000 0002")


async def test_what_happened_is_at_the_collector_when_the_block_ends(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    breaker = CircuitBreaker("psp", consecutive=1)
    with configured("shop") as provider:
        with pytest.raises(ConnectionError):
            await breaker.call(refuse)
        with provider.get_tracer("another").start_as_current_span("theirs", attributes={"password": "hunter2"}):
            position = here()
    assert TRACERS == []
    assert LISTENERS == []
    spans = collector.spans()
    assert spans.keys() == {"CircuitBreaker psp", "theirs"}
    failed = spans["CircuitBreaker psp"]
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    assert failed.status.message == "ConnectionError: no to **** **** **** 0002"
    assert position is not None
    assert spans["theirs"].trace_id.hex() == position.trace_id
    assert spans["theirs"].attributes[0].value.string_value == "***"
    assert collector.resource()["service.name"] == "shop"
    assert {headers["x-tenant"] for headers in collector.headers} == {"shop"}
    metrics = [
        m for sent in collector.metrics for r in sent.resource_metrics for s in r.scope_metrics for m in s.metrics
    ]
    (opened,) = [metric for metric in metrics if metric.name == "sdpatterns.circuit_opened"]
    assert opened.sum.data_points[0].as_int == 1


async def test_the_environment_knows_better_who_sends_and_how_much(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-canary")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    with configured("shop") as provider:
        provider.get_tracer("t").start_span("one").end()
    assert collector.resource()["service.name"] == "shop-canary"
    assert collector.resource()["deployment.environment"] == "test"
    assert collector.metrics == []

    collector.traces.clear()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with configured("shop") as provider:
        provider.get_tracer("t").start_span("two").end()
    assert collector.traces == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "here", "OTEL_SDK_DISABLED": "True"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "here", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
def test_nothing_is_made_before_it_is_asked_for(
    said: dict[str, str], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, collector.url if value == "here" else value)
    threads = threading.active_count()
    with configured() as provider:
        assert TRACERS == []
        assert LISTENERS == []
        assert threading.active_count() == threads
        span = provider.get_tracer("t").start_span("nobody's")
        assert not span.is_recording()
    assert collector.headers == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ],
)
def test_what_is_not_here_is_refused_and_leaves_nothing_behind(
    variable: str, value: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=value), configured():
        pytest.fail("it started")
    assert TRACERS == []
    assert LISTENERS == []


def test_a_collector_that_is_away_delays_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as nobody:
        url = nobody.url
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{url}/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with configured() as provider:
        began = time.monotonic()
        for _ in range(1_000):
            provider.get_tracer("t").start_span("one").end()
        # A thousand waits for the collector's time limit would take a thousand seconds.
        assert time.monotonic() - began < 100.0
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 100.0
