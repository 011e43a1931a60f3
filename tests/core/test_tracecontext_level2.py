"""W3C Trace Context, level 2: each case of the public conformance suite, from request to request.

A request goes in through the tracing middleware, and the service makes requests of its own through the HTTP
transport. Judged is what those say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider

from sdpatterns import Pipeline, Retry, trace_with
from sdpatterns.core.tracecontext import child_of, new_trace, parse_trace, traceparent_of
from sdpatterns.observability.opentelemetry import OpenTelemetryTracer
from sdpatterns.web.asgi.tracing import TracingMiddleware
from sdpatterns.web.httpx2 import AsyncTransport, Transport
from sdpatterns.web.wsgi.tracing import TracingMiddleware as WSGITracingMiddleware
from tests.core.tracecontext_cases import CASES, ID, SPAN, Case, Sent

pytestmark = pytest.mark.anyio

each_case = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
PROVIDER = TracerProvider(shutdown_on_exit=False)
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-(0[0-3])")


class Service:
    """Calls another service so many times in each request, and remembers what it sent."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.sent: list[httpx2.Headers] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Stand for the service that is called."""
        self.sent.append(request.headers)
        return httpx2.Response(204)

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request with a loop."""
        through = AsyncTransport(
            Pipeline(Retry(on=ConnectionError), name="next"), inner=httpx2.MockTransport(self.answer)
        )
        async with httpx2.AsyncClient(transport=through) as http:
            for _ in range(self.calls):
                await http.post("http://next/")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def wsgi(self, environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve a request without one."""
        through = Transport(Pipeline(Retry(on=ConnectionError), name="next"), inner=httpx2.MockTransport(self.answer))
        with httpx2.Client(transport=through) as http:
            for _ in range(self.calls):
                http.post("http://next/")
        start_response("204 No Content", [])
        return []


async def through_asgi(case: Case, request: Sent) -> list[httpx2.Headers]:
    """What the service sends when it gets the request through the ASGI middleware."""
    service = Service(case.calls)
    headers = [(name.encode(), value.encode()) for name, value in request.headers]
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(TracingMiddleware(service.asgi))) as http:
        await http.post("http://here/", headers=headers)
    return service.sent


def through_wsgi(case: Case, request: Sent) -> list[httpx2.Headers]:
    """The same through the WSGI middleware, where a server has joined headers of one name."""
    service = Service(case.calls)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "SERVER_NAME": "here",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
    }
    for name, value in request.headers:
        variable = "HTTP_" + name.upper().replace("-", "_")
        environ[variable] = f"{environ[variable]},{value}" if variable in environ else value
    app = WSGITracingMiddleware(service.wsgi)
    list(app(environ, lambda _status, _headers, _error=None: lambda _data: None))
    return service.sent


def assert_right(case: Case, request: Sent, sent: Sequence[httpx2.Headers]) -> None:
    """Judge as the suite does."""
    assert len(sent) == case.calls
    found = [TRACEPARENT.fullmatch(headers["traceparent"]) for headers in sent]
    matches = [match for match in found if match is not None]
    assert len(matches) == case.calls, "each request has one valid traceparent"
    traces, spans = {match[1] for match in matches}, {match[2] for match in matches}
    assert len(traces) == 1
    assert len(spans - {SPAN}) == case.calls, "each request has a parent id of its own"
    given = " ".join(value for _, value in request.headers)
    assert (traces == {ID}) if request.keeps_trace else not any(trace in given for trace in traces)
    assert {headers.get("tracestate") for headers in sent} == {request.state}
    assert case.flags in {None, matches[0][3]}


@each_case
async def test_the_service_answers_the_suite(case: Case) -> None:
    for request in case.requests:
        assert_right(case, request, await through_asgi(case, request))


@each_case
async def test_the_suite_with_opentelemetry_as_the_tracer(case: Case) -> None:
    with trace_with(OpenTelemetryTracer(PROVIDER)):
        for request in case.requests:
            assert_right(case, request, await through_asgi(case, request))


@each_case
def test_the_suite_without_a_loop(case: Case) -> None:
    for request in case.requests:
        assert_right(case, request, through_wsgi(case, request))


def test_the_41_cases_of_the_suite_are_there_once_each() -> None:
    assert len({case.suite for case in CASES}) == len({case.name for case in CASES}) == 41


def test_the_sampled_and_the_random_flag_are_passed_on_and_no_other() -> None:
    for flags in range(256):
        found = parse_trace([f"00-{ID}-{SPAN}-{flags:02x}"])
        assert found is not None
        assert (found.sampled, found.random) == (bool(flags & 1), bool(flags & 2))
        assert traceparent_of(child_of(child_of(found)))[-2:] == f"{flags & 3:02x}"


def test_a_new_trace_says_that_its_id_is_random_where_it_is() -> None:
    assert traceparent_of(new_trace()).endswith("-03")
    assert traceparent_of(new_trace(sampled=False)).endswith("-02")
    assert traceparent_of(new_trace(lambda size: "ab" * size)).endswith("-01")
