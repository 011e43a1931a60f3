"""What travels with a request, taken from its headers: trace, correlation id, deadline.

| header | becomes |
|---|---|
| `traceparent`, `tracestate` | `context.trace`: a span of its own in the caller's trace, or a new trace |
| `X-Correlation-Id` | `context.correlation_id`, and the same header on the answer; the trace id where there is none |
| `X-Deadline-Ms` | `context.deadline_at`, from trusted peers alone and never later than `deadline_max_s` |
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sdpatterns.core import context
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import Trace
from sdpatterns.core.tracecontext import child_of, new_trace, parse_trace
from sdpatterns.core.tracing import NOWHERE, TRACERS, Opened, Span, Value
from sdpatterns.web.asgi.metrics import METHODS, route_of
from sdpatterns.web.asgi.protocol import ASGIApp, Message, Receive, Scope, Send, header_values, send_problem
from sdpatterns.web.problems import Problem

__all__ = ["TracingMiddleware"]

_CORRELATION = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
_DEADLINE = re.compile(r"[0-9]{1,12}", re.ASCII)
_CORRELATION_HEADER = b"x-correlation-id"


def _nobody(_scope: Scope) -> bool:
    return False


class TracingMiddleware:
    """Sets trace, correlation id and deadline for the time of one request; place it outermost.

    `trusts` says of which peers the deadline is believed (default: nobody's); a trace and a
    correlation id are taken from anyone unless `joins_traces=False`, as on a public edge.
    `deadline_default_s` bounds requests that bring no deadline, `deadline_max_s` those that do.
    `ids` makes new ids. With a tracer (`core.tracing.trace_with`) the ids are its own and the
    request is a span, named after its method and its `route`; `service` names the service where one
    process holds several.

    **Keeps**: malformed headers are as good as none; what the context held before is there again
    afterwards; a deadline that it held, as it does for an item of a batch, is never put off. A request
    whose time is up when it arrives gets 504 and never reaches the application. **May fail** with
    nothing of its own. **Costs** a few microseconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusts: Callable[[Scope], bool] = _nobody,
        joins_traces: bool = True,
        deadline_default_s: float | None = None,
        deadline_max_s: float = 60.0,
        ids: Callable[[int], str] = secrets.token_hex,
        service: str | None = None,
        route: Callable[[Scope], str] = route_of,
    ) -> None:
        if deadline_max_s <= 0:
            raise ValueError(f"deadline_max_s must be above 0, got {deadline_max_s!r}")
        if deadline_default_s is not None and not 0 < deadline_default_s <= deadline_max_s:
            raise ValueError(
                f"deadline_default_s must be above 0 and at most deadline_max_s, got {deadline_default_s!r}"
            )
        self._app = app
        self._trusts = trusts
        self._joins_traces = joins_traces
        self._deadline_default_s = deadline_default_s
        self._deadline_max_s = deadline_max_s
        self._ids = ids
        self._service = service
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        if not TRACERS:
            here = new_trace(self._ids) if caller is None else child_of(caller, self._ids)
            await self._serve(here, scope, receive, send)
            return
        with self._opened(scope, caller) as span:
            try:
                await self._serve(span.trace, scope, receive, _watched(send, span))
            finally:
                self._rename(span, scope)

    async def _serve(self, here: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        correlation = self._correlation(scope) or here.trace_id
        timeout_s = self._timeout_s(scope) if scope["type"] == "http" else None
        answer = _with_correlation(send, correlation)
        with _carried(here, correlation, timeout_s) as left_s:
            if left_s is not None and left_s <= 0 and scope["type"] == "http":
                await send_problem(answer, Problem(status=504, detail="The request arrived after its deadline."))
            else:
                await self._app(scope, receive, answer)

    def _caller(self, scope: Scope) -> Trace | None:
        if not self._joins_traces:
            return None
        return parse_trace(header_values(scope, b"traceparent"), header_values(scope, b"tracestate"))

    def _opened(self, scope: Scope, caller: Trace | None) -> Opened:
        method = _method_of(scope)
        facts: dict[str, Value] = {"http.request.method": method, "url.path": scope.get("path", "")}
        if self._service is not None:
            facts["service.name"] = self._service
        return Opened(method, "server", facts, parent=NOWHERE if caller is None else caller)

    def _rename(self, span: Span, scope: Scope) -> None:
        route = self._route(scope)
        if route:
            span.note("http.route", route)
            span.rename(f"{_method_of(scope)} {route}")

    def _correlation(self, scope: Scope) -> str | None:
        values = header_values(scope, _CORRELATION_HEADER) if self._joins_traces else []
        return values[0] if len(values) == 1 and _CORRELATION.fullmatch(values[0]) else None

    def _timeout_s(self, scope: Scope) -> float | None:
        values = header_values(scope, b"x-deadline-ms")
        if len(values) == 1 and _DEADLINE.fullmatch(values[0]) and self._trusts(scope):
            return min(int(values[0]) / 1000, self._deadline_max_s)
        return self._deadline_default_s


def _method_of(scope: Scope) -> str:
    if scope["type"] == "websocket":
        return "WEBSOCKET"
    return scope["method"] if scope["method"] in METHODS else "other"


@contextmanager
def _carried(trace: Trace, correlation: str, timeout_s: float | None) -> Iterator[float | None]:
    now = SYSTEM.monotonic()
    # What is part of another call here, as an item of a batch is, gets no more time than that has.
    inherited = context.deadline_at.get()
    ends = [at for at in (inherited, None if timeout_s is None else now + timeout_s) if at is not None]
    at = min(ends, default=None)
    tokens = (
        (context.trace, context.trace.set(trace)),
        (context.correlation_id, context.correlation_id.set(correlation)),
        (context.deadline_at, context.deadline_at.set(at)),
    )
    try:
        yield None if at is None else at - now
    finally:
        for variable, token in tokens:
            variable.reset(token)  # type: ignore[arg-type] # each token is its variable's own


def _watched(send: Send, span: Span) -> Send:
    async def send_and_see(message: Message) -> None:
        await send(message)
        if message["type"] == "http.response.start":
            status = message["status"]
            span.note("http.response.status_code", status)
            if status >= 500:
                span.fail(f"{status}")

    return send_and_see


def _with_correlation(send: Send, correlation: str) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] in {"http.response.start", "websocket.accept"}:
            header = (_CORRELATION_HEADER, correlation.encode())
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return send_more
