"""Clients of httpx and of httpx2 with a pipeline, against a real server where bytes on a socket matter."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import httpx2
import pytest

from sdpatterns import CircuitBreaker, Pipeline, Retry, Timeout, with_deadline
from sdpatterns.core import context
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import Trace
from sdpatterns.core.keys import KeyOf
from sdpatterns.core.policy import AsyncCall, Policy
from sdpatterns.core.tracecontext import parse_trace
from sdpatterns.errors import CircuitIsOpen, DeadlineExceeded
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.web import httpx as ours
from sdpatterns.web import httpx2 as ours2
from sdpatterns.web.outgoing import retry_after_s
from tests.web.conftest import Serve, serving

pytestmark = pytest.mark.anyio

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
Answers = Callable[[Any], Any]


class Library(NamedTuple):
    """A client library, and our module for it."""

    http: Any
    ours: Any


lib = Library(httpx, ours)


@pytest.fixture(autouse=True, params=[Library(httpx, ours), Library(httpx2, ours2)], ids=["httpx", "httpx2"])
def _each_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "lib", request.param)


class Server:
    """Answers with the next of its statuses and keeps what it was asked."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.statuses = list(statuses)
        self.headers = headers or {}
        self.requests: list[Any] = []
        self.timeouts: list[Any] = []

    def __call__(self, request: Any) -> Any:
        kept = lib.http.Request(request.method, request.url, headers=request.headers)
        self.requests.append(kept)
        self.timeouts.append(request.extensions.get("timeout"))
        status = self.statuses.pop(0) if self.statuses else 200
        return lib.http.Response(status, headers=self.headers, text=f"answer {len(self.requests)}")

    @property
    def count(self) -> int:
        return len(self.requests)


def retry(attempts_max: int = 3, **settings: Any) -> Retry:
    return Retry(on=lib.http.TransportError, attempts_max=attempts_max, base_s=0.0, max_s=0.0, **settings)


def client(server: Answers, *parts: Any, **settings: Any) -> Any:
    pipeline = Pipeline(*(parts or [retry()]), name="shop")
    transport = lib.ours.AsyncTransport(pipeline, inner=lib.http.MockTransport(server), **settings)
    return lib.http.AsyncClient(transport=transport, base_url="http://shop.example")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_what_is_idempotent_is_sent_again(method: str) -> None:
    server = Server(503, 502)
    async with client(server) as http:
        response = await http.request(method, "/", content=b"body" if method == "PUT" else None)
    assert (response.status_code, server.count) == (200, 3)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_is_not_is_sent_once_unless_it_carries_a_key(method: str) -> None:
    server = Server(503)
    async with client(server) as http:
        response = await http.request(method, "/", content=b"body")
        assert (response.status_code, response.text, server.count) == (503, "answer 1", 1)
        server.statuses = [503]
        response = await http.request(method, "/", content=b"body", headers={"Idempotency-Key": '"k"'})
    assert (response.status_code, server.count) == (200, 3)


async def test_a_body_that_is_a_stream_is_sent_once() -> None:
    async def chunks() -> Any:
        yield b"body"

    server = Server(503)
    async with client(server) as http:
        response = await http.put("/", content=chunks())
    assert (response.status_code, server.count) == (503, 1)


async def test_the_last_refusal_is_the_answer_that_it_is() -> None:
    server = Server(503, 503, 503, headers={"x-own": "1"})
    async with client(server) as http:
        response = await http.get("/")
    assert (response.status_code, response.text, response.headers["x-own"], server.count) == (503, "answer 3", "1", 3)


async def test_a_request_without_retries_still_passes_the_other_parts() -> None:
    server = Server(*[503] * 20)
    breaker = CircuitBreaker("shop", consecutive=3)
    async with client(server, retry(), breaker) as http:
        for _ in range(3):
            assert (await http.post("/")).status_code == 503
        with pytest.raises(CircuitIsOpen):
            await http.post("/")
    assert server.count == 3


async def test_a_part_may_take_its_key_from_the_request() -> None:
    server = Server(*[503] * 20)
    breaker = CircuitBreaker("shop", consecutive=1).by(lambda request: request.url.host)
    async with client(server, breaker) as http:
        await http.get("http://a.example/")
        with pytest.raises(CircuitIsOpen):
            await http.get("http://a.example/")
        assert (await http.get("http://b.example/")).status_code == 503


async def test_a_pipeline_of_nothing_but_a_retry_lets_a_post_through() -> None:
    server = Server(503)
    transport = lib.ours.AsyncTransport(retry(name="shop"), inner=lib.http.MockTransport(server))
    async with lib.http.AsyncClient(transport=transport, base_url="http://shop.example") as http:
        assert (await http.post("/")).status_code == 503
        assert (await http.get("/")).status_code == 200


async def test_which_answers_are_failures_can_be_chosen() -> None:
    server = Server(500, 503)
    async with client(server, unavailable=[500]) as http:
        assert (await http.get("/")).status_code == 503
    assert server.count == 2


async def test_a_retry_waits_as_long_as_the_server_asks() -> None:
    waits: list[float | None] = []
    server = Server(429, 503, headers={"retry-after": "0"})

    def seen(error: Exception) -> float | None:
        assert isinstance(error, lib.ours.AnsweredUnavailable)
        waits.append(error.retry_after_s)
        return error.retry_after_s

    async with client(server, retry(retry_after=seen)) as http:
        assert (await http.get("/")).status_code == 200
    assert waits == [0.0, 0.0]
    server = Server(429, headers={"retry-after": "3600"})
    async with client(server) as http:
        assert (await http.get("/")).status_code == 429
    assert server.count == 1, "an hour is longer than a retry waits"


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    with VirtualClock():
        now = SYSTEM.now_us() // 1_000_000
        assert retry_after_s(email.utils.formatdate(now + 90, usegmt=True)) == pytest.approx(90.0)
        assert retry_after_s(email.utils.formatdate(now - 90, usegmt=True)) == 0.0
        assert retry_after_s(email.utils.formatdate(now + 10**7, usegmt=True)) == 86_400.0
        assert retry_after_s(email.utils.formatdate(now + 90)) == pytest.approx(90.0)
        assert retry_after_s("Tue, 14 Nov 2023 23:14:20 +0100") == pytest.approx(60.0)
    assert [retry_after_s(value) for value in ("7", "0", "9" * 30)] == [7.0, 0.0, 86_400.0]
    for nonsense in (None, "", "soon", "-1", "1.5", "٣", "Mon, 99 Foo 2026", "Thu, 01 Jan 99999999999 00:00:00 GMT"):
        assert retry_after_s(nonsense) is None


async def test_trace_correlation_and_deadline_travel_along() -> None:
    server = Server(503)
    context.trace.set(Trace(ID, "ab" * 8, sampled=False, state="a=1"))
    context.correlation_id.set("order-7")
    with VirtualClock(), with_deadline(2.5):
        async with client(server) as http:
            await http.get("/", timeout=lib.http.Timeout(1.0, read=9.0))
    first, second = (request.headers for request in server.requests)
    spans = [parse_trace([headers["traceparent"]]) for headers in (first, second)]
    assert {span.trace_id for span in spans if span} == {ID}
    assert len({span.span_id for span in spans if span} | {"ab" * 8}) == 3, "each attempt is a span of its own"
    assert first["tracestate"] == "a=1"
    assert first["x-correlation-id"] == "order-7"
    assert first["x-deadline-ms"] == "2500"
    assert server.timeouts[0] == {"connect": 1.0, "read": 2.5, "write": 1.0, "pool": 1.0}


async def test_a_request_that_is_sent_again_later_carries_nothing_of_the_first_time() -> None:
    server = Server()
    async with client(server) as http:
        request = http.build_request("GET", "/", timeout=9.0)
        with VirtualClock(), with_deadline(2.5):
            await http.send(request)
        await http.send(request)
    assert "x-deadline-ms" in server.requests[0].headers
    assert "x-deadline-ms" not in server.requests[1].headers
    assert [asked["read"] for asked in server.timeouts] == [2.5, 9.0]


async def test_a_client_for_other_companies_sends_no_context() -> None:
    server = Server()
    context.trace.set(Trace(ID, "ab" * 8))
    with with_deadline(2.5):
        async with client(server, carries_context=False) as http:
            await http.get("/")
    assert not {"traceparent", "x-deadline-ms", "x-correlation-id"} & server.requests[0].headers.keys()
    assert server.timeouts[0]["connect"] <= 2.5


async def test_nothing_is_sent_after_the_deadline() -> None:
    server = Server()
    with VirtualClock() as clock, with_deadline(1.0):
        clock.advance(1.5)
        async with client(server) as http:
            with pytest.raises(DeadlineExceeded):
                await http.get("/")
    assert server.count == 0


async def test_a_keyed_part_without_a_key_is_refused_at_once() -> None:
    from sdpatterns import RateLimiter, per_second

    with pytest.raises(TypeError, match="keyed"):
        lib.ours.AsyncTransport(RateLimiter("api", {"each": per_second(1)}))


class App:
    """Refuses twice with a packed body, then serves."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.deadlines: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        self.deadlines.append(dict(scope["headers"]).get(b"x-deadline-ms", b""))
        if scope["path"] == "/hang":
            await asyncio.sleep(1.0)
        status = 503 if len(self.paths) <= 2 else 200
        body = gzip.compress(f"answer {len(self.paths)}".encode())
        headers = [(b"content-encoding", b"gzip"), (b"retry-after", b"0"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def test_over_real_sockets_a_refused_request_is_sent_again(serve: Serve) -> None:
    app = App()
    limits = lib.http.Limits(max_connections=1)
    transport = lib.ours.AsyncTransport(
        Pipeline(retry(), CircuitBreaker("shop", consecutive=9), Timeout(5.0), name="shop"),
        inner=lib.http.AsyncHTTPTransport(limits=limits),
    )
    async with serve(app) as url, lib.http.AsyncClient(transport=transport, base_url=url) as http:
        response = await http.get("/")
        assert (response.status_code, response.text) == (200, "answer 3")
        app.paths.clear()
        response = await http.post("/")
        assert (response.status_code, response.text) == (503, "answer 1")
        async with http.stream("GET", "/") as streamed:
            assert [part async for part in streamed.aiter_text()] == ["answer 3"]


class Broken(Policy):
    """Fails once its call has an answer."""

    name = "broken"

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            await call(*args, **kwargs)
            raise OSError("broken")

        return wrapped


@pytest.mark.parametrize("ends", ["served", "in the pipeline"])
async def test_over_real_sockets_an_answer_that_is_not_wanted_holds_no_connection(serve: Serve, ends: str) -> None:
    app = App()
    parts: list[Any] = [retry(on_result=lambda response: response.status_code == 503)]
    if ends == "in the pipeline":
        parts.insert(0, Broken())
    inner = lib.http.AsyncHTTPTransport(limits=lib.http.Limits(max_connections=1))
    transport = lib.ours.AsyncTransport(Pipeline(*parts, name="shop"), inner=inner, unavailable=(), reads_body=False)
    async with serve(app) as url, lib.http.AsyncClient(transport=transport, base_url=url, timeout=30.0) as http:
        for _ in range(2):
            app.paths.clear()
            if ends == "served":
                assert (await http.get("/")).text == "answer 3"
            else:
                with pytest.raises(OSError, match="broken"):
                    await http.get("/")
            assert len(app.paths) == 3


async def test_over_real_sockets_a_hanging_server_is_left_at_the_deadline(serve: Serve) -> None:
    app = App()
    transport = lib.ours.AsyncTransport(Pipeline(retry(), name="shop"))
    async with serve(app) as url, lib.http.AsyncClient(transport=transport, base_url=url) as http:
        with with_deadline(1.0), pytest.raises((lib.http.ReadTimeout, DeadlineExceeded)):
            await http.get("/hang")
    assert app.paths == ["/hang"]
    assert 0 < int(app.deadlines[0]) <= 1000


@pytest.fixture
def served() -> Iterator[tuple[App, str]]:
    """A server in a thread of its own, for clients that block."""
    app, ready, done = App(), threading.Event(), threading.Event()
    urls: list[str] = []

    async def run() -> None:
        async with serving(app) as url:
            urls.append(url)
            ready.set()
            while not done.is_set():  # noqa: ASYNC110 - the event is a thread's
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(60.0)
    yield app, urls[0]
    done.set()
    thread.join()


def test_without_a_loop_the_same_pipeline_stands_around_a_plain_client(served: tuple[App, str]) -> None:
    app, url = served
    transport = lib.ours.Transport(Pipeline(retry(), CircuitBreaker("shop", consecutive=9), name="shop"))
    with lib.http.Client(transport=transport, base_url=url) as http, with_deadline(5.0):
        response = http.get("/")
        assert (response.status_code, response.text) == (200, "answer 3")
        app.paths.clear()
        assert [http.post("/").status_code for _ in range(3)] == [503, 503, 200]
        assert 0 < int(app.deadlines[0]) <= 5000


def test_without_a_loop_an_answer_that_is_not_wanted_holds_no_connection(served: tuple[App, str]) -> None:
    _, url = served
    inner = lib.http.HTTPTransport(limits=lib.http.Limits(max_connections=1))
    pipeline = Pipeline(retry(on_result=lambda response: response.status_code == 503), name="shop")
    transport = lib.ours.Transport(pipeline, inner=inner, unavailable=(), reads_body=False)
    with lib.http.Client(transport=transport, base_url=url, timeout=30.0) as http:
        assert [http.get("/").text for _ in range(2)] == ["answer 3", "answer 4"]


def test_a_blocking_client_gives_up_at_its_deadline(served: tuple[App, str]) -> None:
    _, url = served
    transport = lib.ours.Transport(Pipeline(retry(), name="shop"))
    with lib.http.Client(transport=transport, base_url=url) as http, with_deadline(0.2):  # noqa: SIM117
        with pytest.raises((lib.http.ReadTimeout, DeadlineExceeded)):
            http.get("/hang")


def test_a_part_that_needs_a_loop_is_refused_without_one() -> None:
    with pytest.raises(TypeError, match="event loop"):
        lib.ours.Transport(Pipeline(retry(), Timeout(1.0), name="shop"))
