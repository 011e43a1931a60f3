"""Middlewares around each other, and the same one twice."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from sdpatterns import Idempotency, listen
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.context import trace
from sdpatterns.core.notices import Notice
from sdpatterns.web.asgi.compression import CompressionMiddleware
from sdpatterns.web.asgi.conditional import ConditionalMiddleware
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware
from sdpatterns.web.asgi.metrics import MetricsMiddleware
from sdpatterns.web.asgi.protocol import ASGIApp
from sdpatterns.web.asgi.tracing import TracingMiddleware
from sdpatterns.web.asgi.versions import VersionsMiddleware
from sdpatterns.web.notices import RequestFinished
from sdpatterns.web.versions import Version
from tests.web.asgi.asking import client

pytestmark = pytest.mark.anyio


def offering(app: ASGIApp) -> ASGIApp:
    """As behind a server that can send files, trailers and unknown extensions."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        names = ("http.response.pathsend", "http.response.trailers", "http.response.unheard", "unheard")
        await app({**scope, "extensions": {name: {} for name in names}}, receive, send)

    return serve


async def order(request: Any) -> PlainTextResponse:
    return PlainTextResponse("fine" * 200)


async def test_the_route_is_told_whatever_stands_between() -> None:
    seen: list[Notice] = []
    app: ASGIApp = Starlette(routes=[Route("/v1/orders/{id}", order, methods=["GET", "POST"])])
    for wrap in (
        lambda inside: IdempotencyMiddleware(inside, Idempotency("http", store=MemoryBackend().states)),
        ConditionalMiddleware,
        lambda inside: VersionsMiddleware(inside, [Version(name="1")], name="shop"),
        CompressionMiddleware,
        TracingMiddleware,
        lambda inside: MetricsMiddleware(inside, name="shop"),
    ):
        app = wrap(app)
    with listen(seen.append):
        async with client(offering(app)) as http:
            await http.get("/v1/orders/7", headers={"if-none-match": '"x--gzip"'})
            await http.post("/v1/orders/7", headers={"idempotency-key": '"8e"'})
    told = [(each.method, each.route, each.status) for each in seen if isinstance(each, RequestFinished)]
    assert told == [("GET", "/v1/orders/{id}", 200), ("POST", "/v1/orders/{id}", 200)]


async def test_a_traced_application_in_a_traced_one_is_part_of_its_request() -> None:
    traces = []

    async def look(request: Any) -> PlainTextResponse:
        traces.append(trace.get())
        return PlainTextResponse("fine")

    mounted = TracingMiddleware(Starlette(routes=[Route("/it", look)]))
    async with client(TracingMiddleware(Starlette(routes=[Mount("/in", mounted), Route("/it", look)]))) as http:
        inner = await http.get("/in/it")
        outer = await http.get("/it")
    assert len(inner.headers.get_list("x-correlation-id")) == len(outer.headers.get_list("x-correlation-id")) == 1
    assert inner.headers["x-correlation-id"] == traces[0].trace_id


async def test_one_policy_twice_in_the_way_of_a_request_claims_its_key_once() -> None:
    calls = []

    async def once(request: Any) -> PlainTextResponse:
        calls.append(request.url.path)
        return PlainTextResponse("fine")

    policy = Idempotency("http", store=MemoryBackend().states)
    mounted = IdempotencyMiddleware(Starlette(routes=[Route("/it", once, methods=["POST"])]), policy)
    app = IdempotencyMiddleware(Starlette(routes=[Mount("/in", mounted)]), policy)
    async with client(app) as http:
        answers = [await http.post("/in/it", headers={"idempotency-key": '"8e"'}) for _ in range(2)]
    assert [(each.status_code, each.text) for each in answers] == [(200, "fine")] * 2
    assert calls == ["/in/it"]


async def test_a_route_that_raises_is_no_route_and_hides_nothing() -> None:
    seen: list[Notice] = []

    def broken(_scope: Any) -> str:
        raise KeyError("route")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with listen(seen.append):
        async with client(MetricsMiddleware(TracingMiddleware(app, route=broken), name="shop", route=broken)) as http:
            with pytest.raises(ZeroDivisionError):
                await http.get("/")
    assert [(each.route, each.status) for each in seen if isinstance(each, RequestFinished)] == [("", 500)]
