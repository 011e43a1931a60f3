from __future__ import annotations

from typing import Any

import pytest

from sdpatterns.core import context
from sdpatterns.core.context import Trace
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.web.asgi.tracing import TracingMiddleware
from tests.web.asgi.asking import answer, client

pytestmark = pytest.mark.anyio

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{ID}-{SPAN}-01"


class App:
    trace: Trace | None = None
    correlation: str | None = None
    left_s: float | None = None
    seen = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen += 1
        self.trace = context.trace.get()
        self.correlation = context.correlation_id.get()
        self.left_s = context.deadline_left_s()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await answer(send)


def ids(size_bytes: int) -> str:
    return "ab" * size_bytes


def everyone(_scope: Any) -> bool:
    return True


async def test_a_request_joins_the_callers_trace() -> None:
    app = App()
    async with client(TracingMiddleware(app, ids=ids)) as http:
        response = await http.get("/", headers={"traceparent": GOOD, "tracestate": "a=1"})
    assert app.trace == Trace(ID, "ab" * 8, sampled=True, state="a=1")
    assert app.correlation == response.headers["x-correlation-id"] == ID
    assert (context.trace.get(), context.correlation_id.get()) == (None, None)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", GOOD), ("traceparent", GOOD)],
        [("traceparent", GOOD.upper())],
        [("traceparent", f"00-{'0' * 32}-{SPAN}-01"), ("tracestate", "a=1")],
    ],
)
async def test_a_request_without_a_good_trace_starts_one(headers: list[tuple[str, str]]) -> None:
    app = App()
    async with client(TracingMiddleware(app, ids=ids)) as http:
        await http.get("/", headers=headers)
    assert app.trace == Trace("ab" * 16, "ab" * 8)


async def test_a_public_edge_joins_nobodys_trace() -> None:
    app = App()
    async with client(TracingMiddleware(app, joins_traces=False, ids=ids)) as http:
        await http.get("/", headers={"traceparent": GOOD, "x-correlation-id": "theirs"})
    assert app.trace == Trace("ab" * 16, "ab" * 8)
    assert app.correlation == "ab" * 16


@pytest.mark.parametrize(
    ("value", "taken"), [("order-7:a.b_c", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("", False)]
)
async def test_a_correlation_id_is_taken_where_it_is_harmless(value: str, taken: bool) -> None:
    app = App()
    async with client(TracingMiddleware(app, ids=ids)) as http:
        response = await http.get("/", headers={"x-correlation-id": value})
    assert app.correlation == response.headers["x-correlation-id"] == (value if taken else "ab" * 16)


@pytest.mark.parametrize(
    ("value", "left_s"),
    [("1500", 1.5), ("999999", 60.0), ("-5", 9.0), ("1.5", 9.0), ("x", 9.0), ("", 9.0), ("9" * 13, 9.0), ("٣", 9.0)],
)
async def test_a_trusted_peers_deadline_is_taken_and_capped(value: str, left_s: float) -> None:
    app = App()
    traced = TracingMiddleware(app, trusts=everyone, deadline_default_s=9.0)
    with VirtualClock():
        async with client(traced) as http:
            await http.get("/", headers=[(b"x-deadline-ms", value.encode())])
    assert app.left_s == pytest.approx(left_s)


async def test_an_unknown_peers_deadline_is_not_believed() -> None:
    app = App()
    async with client(TracingMiddleware(app)) as http:
        await http.get("/", headers={"x-deadline-ms": "1500"})
    assert app.left_s is None


async def test_a_request_that_comes_too_late_is_not_carried_out() -> None:
    app = App()
    async with client(TracingMiddleware(app, trusts=everyone)) as http:
        response = await http.get("/", headers={"x-deadline-ms": "0"})
    assert (response.status_code, app.seen) == (504, 0)
    assert "x-correlation-id" in response.headers


@pytest.mark.parametrize("headers", [{}, {"x-deadline-ms": "1500"}])
@pytest.mark.parametrize("default_s", [None, 9.0])
async def test_a_request_that_is_part_of_another_call_gets_no_more_time_than_that(
    headers: dict[str, str], default_s: float | None
) -> None:
    app = App()
    async with client(TracingMiddleware(app, trusts=everyone, deadline_default_s=default_s)) as http:
        with VirtualClock() as clock, context.with_deadline(0.5):
            await http.get("/", headers=headers)
            assert app.left_s == pytest.approx(0.5)
            clock.advance(0.5)
            assert (await http.get("/", headers=headers)).status_code == 504
    assert app.seen == 1


async def test_a_websocket_is_traced_too_and_the_lifespan_passes() -> None:
    app, sent = App(), []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "headers": [(b"traceparent", GOOD.encode())]}
    await TracingMiddleware(app, ids=ids)(scope, None, send)  # type: ignore[arg-type]
    assert app.trace == Trace(ID, "ab" * 8)
    assert sent == [{"type": "websocket.accept", "headers": [(b"x-correlation-id", ID.encode())]}]
    await TracingMiddleware(app)({"type": "lifespan"}, None, send)  # type: ignore[arg-type]
    assert app.seen == 2
    assert app.trace is None


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("deadline_max_s", {"deadline_max_s": 0}),
        ("deadline_default_s", {"deadline_default_s": 0}),
        ("deadline_default_s", {"deadline_default_s": 61}),
    ],
)
async def test_bad_settings_are_refused_by_name(field: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=field):
        TracingMiddleware(App(), **settings)
