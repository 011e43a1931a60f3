"""Clients of aiohttp with a pipeline in a middleware, against servers on real sockets."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sdpatterns import CircuitBreaker, Pipeline, RateLimiter, Retry, Timeout, per_second, with_deadline
from sdpatterns.core import context
from sdpatterns.core.context import Trace
from sdpatterns.core.policy import Policy
from sdpatterns.core.tracecontext import parse_trace
from sdpatterns.core.tracing import trace_with
from sdpatterns.errors import CircuitIsOpen, DeadlineExceeded
from sdpatterns.resilience.breaker import CircuitState
from sdpatterns.web.aiohttp import AnsweredUnavailable, ClientMiddleware
from tests.machine import slowness

from .storm import CONNECTIONS_MAX, Get, Race, answered_at_once, certificates, counting, hurried, storm
from .wire import TROUBLE, Wire, wired

pytestmark = pytest.mark.anyio

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
ERRORS = (aiohttp.ClientError, DeadlineExceeded)


def retry(attempts_max: int = 3, **settings: Any) -> Retry:
    return Retry(on=ERRORS, attempts_max=attempts_max, base_s=0.0, max_s=0.0, **settings)


class Server:
    """Answers with the next of its statuses, and keeps what it was asked and sent."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.statuses = list(statuses)
        self.headers = headers or {}
        self.bodies: list[bytes] = []
        self.asked: list[Any] = []
        self.url = ""

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.bodies.append(await request.read())
        self.asked.append(request.headers)
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, text=f"answer {len(self.bodies)}", headers=self.headers)

    @property
    def count(self) -> int:
        return len(self.bodies)


@asynccontextmanager
async def client(server: Server, *parts: Policy, **settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
    pipeline = Pipeline(*(parts or (retry(),)), name="shop")
    runner = web.ServerRunner(web.Server(server))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{runner.addresses[0][1]}",
            middlewares=[ClientMiddleware(pipeline, **settings)],
        ) as session:
            yield session
    finally:
        await runner.cleanup()


async def text(session: aiohttp.ClientSession, method: str = "GET", **settings: Any) -> tuple[int, str]:
    async with session.request(method, "/", **settings) as answer:
        return answer.status, await answer.text()


async def test_what_is_idempotent_or_carries_a_key_is_sent_again_with_its_body() -> None:
    server = Server()
    async with client(server) as session:
        for method, settings in [
            ("GET", {}),
            ("HEAD", {}),
            ("PUT", {"data": b"body"}),
            ("PUT", {"json": {"a": 1}}),
            ("DELETE", {}),
            ("POST", {"data": "body", "headers": {"Idempotency-Key": '"k"'}}),
            ("POST", {"data": {"field": "1"}, "headers": {"Idempotency-Key": '"k"'}}),
        ]:
            server.statuses, server.bodies = [503, 502], []
            status, _ = await text(session, method, **settings)
            assert (status, server.count, len(set(server.bodies))) == (200, 3, 1)
            assert bool(server.bodies[0]) == bool(settings)


async def test_what_must_not_be_sent_twice_is_sent_once() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"body"

    server = Server()
    async with client(server) as session:
        for method, settings in [
            ("POST", {"data": b"body"}),
            ("PATCH", {"data": b"body"}),
            ("PUT", {"data": chunks()}),
            ("POST", {"data": chunks(), "headers": {"Idempotency-Key": '"k"'}}),
        ]:
            server.statuses, server.bodies = [503], []
            status, body = await text(session, method, **settings)
            assert (status, body, server.bodies) == (503, "answer 1", [b"body"])


async def test_the_last_refusal_is_the_answer_that_it_is() -> None:
    server = Server(503, 503, 503, headers={"x-own": "1"})
    async with client(server) as session, session.get("/") as answer:
        assert (answer.status, await answer.text(), answer.headers["x-own"]) == (503, "answer 3", "1")
    assert server.count == 3


async def test_a_retry_waits_as_long_as_the_server_asks() -> None:
    waits: list[float | None] = []

    def seen(error: Exception) -> float | None:
        assert isinstance(error, AnsweredUnavailable)
        waits.append(error.retry_after_s)
        return error.retry_after_s

    async with client(Server(429, 503, headers={"retry-after": "0"}), retry(retry_after=seen)) as session:
        assert (await text(session))[0] == 200
    assert waits == [0.0, 0.0]


async def test_a_part_may_take_its_key_from_the_request_and_refuse_it() -> None:
    server = Server(*[503] * 9)
    breaker = CircuitBreaker("shop", consecutive=1).by(lambda request: request.url.host)
    async with client(server, breaker) as session:
        await text(session)
        with pytest.raises(CircuitIsOpen):
            await text(session)
    assert server.count == 1
    with pytest.raises(TypeError, match="keyed"):
        ClientMiddleware(RateLimiter("api", {"each": per_second(1)}))


async def test_trace_correlation_and_deadline_travel_along() -> None:
    server = Server(503)
    context.trace.set(Trace(ID, "ab" * 8, state="a=1"))
    context.correlation_id.set("order-7")
    async with client(server) as session:
        with with_deadline(30.0):
            await text(session)
        await text(session)
    first, second, third = server.asked
    spans = [parse_trace([headers["traceparent"]]) for headers in server.asked]
    assert len({span.span_id for span in spans if span} | {"ab" * 8}) == 4, "each attempt is a span of its own"
    assert (first["tracestate"], second["x-correlation-id"]) == ("a=1", "order-7")
    assert 0 < int(second["x-deadline-ms"]) <= int(first["x-deadline-ms"]) <= 30_000
    assert "x-deadline-ms" not in third
    server = Server()
    async with client(server, carries_context=False) as session:
        await text(session)
    assert "traceparent" not in server.asked[0]


async def test_nothing_is_sent_after_the_deadline() -> None:
    server = Server()
    async with client(server) as session:
        with with_deadline(-1.0), pytest.raises(DeadlineExceeded):
            await text(session)
    assert server.count == 0


@asynccontextmanager
async def asking(url: str, part: Policy, **settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url, middlewares=[ClientMiddleware(part, **settings)]) as session:
        yield session


async def test_whatever_goes_wrong_with_an_answer_is_a_failed_attempt() -> None:
    wire = Wire()
    async with wired(wire) as url, asking(url, Pipeline(retry(20), Timeout(0.25), name="wire")) as session:
        for path in TROUBLE:
            if not path.startswith("/redirect"):  # aiohttp drops the body of a redirect that it follows
                async with session.get(path) as answer:
                    assert (path, await answer.text()) == (path, "fine")
    breaker = CircuitBreaker("wire", consecutive=2)
    async with wired(Wire(times=99)) as url, asking(url, breaker) as session:
        for path in ("/breaks-off", "/not-gzip"):
            with pytest.raises(aiohttp.ClientError):
                await session.get(path)
    assert breaker.state is CircuitState.OPEN


async def test_the_carried_deadline_ends_a_body() -> None:
    wire = Wire(times=99)
    for reads_body in (True, False):
        part = Pipeline(retry(), name="wire")
        async with wired(wire) as url, asking(url, part, reads_body=reads_body) as session:
            for path in ["/drips", "/hangs", "/last-chunk-never-ends", "/headers-drip"]:
                with pytest.raises(DeadlineExceeded), with_deadline(0.1):
                    async with session.get(path) as answer:
                        await answer.read()
    assert 0 < len(wire.asked) <= 8, "no attempt is made after the deadline"


async def test_a_body_that_is_streamed_passes_as_it_comes() -> None:
    wire = Wire()
    streams: list[tuple[str, dict[str, Any]]] = [
        ("/events", {}),
        ("/gate", {"reads_body": False}),
        ("/gate", {"body_bytes_max": 2}),
    ]
    async with wired(wire) as url:
        for path, settings in streams:
            wire.may_end.clear()
            async with asking(url, Timeout(5.0, name="wire"), **settings) as session, session.get(path) as answer:
                parts = []
                async for part in answer.content.iter_any():
                    parts.append(part)
                    wire.may_end.set()
            assert parts == [b"first", b"last"]


async def test_a_body_that_was_read_can_be_read_in_every_way() -> None:
    async with wired(Wire()) as url, asking(url, Timeout(5.0, name="wire")) as session:
        async with session.get("/packed") as answer:
            assert await answer.text() == "hello" * 100
        async with session.get("/packed") as answer:
            assert b"".join([part async for part in answer.content.iter_chunked(7)]) == b"hello" * 100
        async with session.get("/large") as answer:
            assert (await answer.content.read(3), await answer.content.read()) == (b"fir", b"stlast")


async def test_each_attempt_has_a_span() -> None:
    opened: list[tuple[str, Any]] = []

    class Kept:
        def __init__(self, name: str, facts: Any) -> None:
            self.trace = Trace(ID, "cd" * 8)
            self.facts = dict(facts)
            opened.append((name, self))

        def note(self, name: str, value: Any) -> None:
            self.facts[name] = value

        def fail(self, reason: str) -> None:
            self.facts["failed"] = reason

        def rename(self, name: str) -> None:
            raise AssertionError(name)

        def end(self, error: BaseException | None) -> None:
            self.facts["ended"] = True

    class Tracing:
        def here(self) -> None:
            return None

        def start(self, name: str, /, kind: Any, facts: Any, links: Any, parent: Any) -> Kept:
            return Kept(name, facts)

    server = Server(503, 404)
    with trace_with(Tracing()):
        async with client(server) as session, session.get("/?card=4111") as answer:
            assert answer.status == 404
    spans = [span.facts for name, span in opened if name == "GET"]
    assert [(span["http.response.status_code"], span["failed"], span["ended"]) for span in spans] == [
        (503, "503", True),
        (404, "404", True),
    ]
    assert "card" not in spans[0]["url.full"]
    assert server.asked[0]["traceparent"].split("-")[2] == "cd" * 8


async def test_attempts_side_by_side_are_refused_with_the_reason() -> None:
    async with client(Server(), Race()) as session:
        with pytest.raises(ExceptionGroup) as raised:
            await text(session)
    assert raised.group_contains(RuntimeError, match="side by side")


async def weathered(part: Policy, *, tls: bool, requests: int, seed: int = 1) -> float:
    """Let a storm of cancellations pass; the seconds that sixteen requests at once take then."""
    shown, trusted = certificates() if tls else (None, True)
    async with counting(shown) as server:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, force_close=False, ssl=trusted)
        ) as session:

            def getting(middleware: ClientMiddleware) -> Get:
                async def get(path: str) -> int:
                    try:
                        async with session.get(server.url + path, middlewares=[middleware]) as answer:
                            await answer.read()
                            return answer.status
                    except ERRORS:
                        return 0

                return get

            stormy = getting(ClientMiddleware(hurried()))
            raced = part.wrap(stormy) if isinstance(part, Race) else stormy  # type: ignore[arg-type]
            await storm(raced, seed=seed, requests=requests)
            tries = [await answered_at_once(getting(ClientMiddleware(Timeout(60.0)))) for _ in range(3)]
            whole = server.open
        assert (min(count for count, _ in tries), whole, await server.left_alone()) == (16, CONNECTIONS_MAX, 0)
    gc.collect()
    return min(took_s for _, took_s in tries)


@pytest.mark.parametrize(
    "tls", [pytest.param(False, marks=pytest.mark.nightly, id="plain"), pytest.param(True, id="tls")]
)
async def test_a_storm_of_cancellations_leaves_the_pool_whole(tls: bool) -> None:
    for part in (hurried(), Race()):
        assert await weathered(part, tls=tls, requests=100) < 20.0


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_ten_thousand_cancellations_leave_the_pool_whole(tls: bool) -> None:
    for seed in range(5):
        for part in (hurried(), Race()):
            assert await weathered(part, tls=tls, requests=1_000, seed=seed) < slowness()
            await asyncio.sleep(0)
