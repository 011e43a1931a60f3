"""What travels with a request, taken from its headers: trace, correlation id, deadline.

| header | becomes |
|---|---|
| `traceparent`, `tracestate` | `context.trace`: a span of its own in the caller's trace, or a new trace |
| `X-Correlation-Id` | `context.correlation_id`, and the same header on the answer; the trace id where there is none |
| `X-Deadline-Ms` | `context.deadline_at`, from trusted peers alone and never later than `deadline_max_s` |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from sdpatterns.core import context
from sdpatterns.core.asking import told
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import Trace, Until
from sdpatterns.core.judging import answering
from sdpatterns.core.tracecontext import child_of, new_trace, parse_trace, random_id
from sdpatterns.core.tracing import NOWHERE, TRACERS, Opened, Span, Value
from sdpatterns.web.asgi.metrics import METHODS, route_of
from sdpatterns.web.asgi.protocol import (
    AnswerEnd,
    ASGIApp,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    altered,
    headers_named,
    innermost,
    send_problem,
)
from sdpatterns.web.problems import Problem

__all__ = ["TracingMiddleware"]

_CORRELATION = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
_DEADLINE = re.compile(r"[0-9]{1,12}", re.ASCII)
_CORRELATION_HEADER = b"x-correlation-id"
_READ = frozenset({b"traceparent", b"tracestate", _CORRELATION_HEADER, b"x-deadline-ms"})
_Said: TypeAlias = Mapping[bytes, Sequence[str]]
_MARK = "sdpatterns.traced"


def _nobody(_scope: Scope) -> bool:
    return False


class TracingMiddleware:
    """Connects each request to the trace, correlation id and deadline of its caller; place it outermost.

    `trusts` says which peers' deadline is believed (default: none); a trace and a
    correlation id are taken from anyone unless `joins_traces=False`, as on a public edge.
    `deadline_default_s` bounds requests that bring no deadline, `deadline_max_s` those that do.
    `ids` makes new ids. With a tracer (`core.tracing.trace_with`) the ids are its own and the
    request is a span, named after its method and its `route`; `service` names the service where one
    process holds several. Inside another one, as in a mounted application, it makes a span of the
    outer's and keeps the outer's correlation id.

    Span and deadline end with the last byte of the answer: a background task that runs after it, or a
    task that the application made, is not stopped by the deadline of a request that was answered. Work
    that begins earlier and is to outlive the request begins under `without_deadline()`.

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
        ids: Callable[[int], str] = random_id,
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
        self._trusts = answering("trusts", trusts)
        self._joins_traces = joins_traces
        self._deadline_default_s = deadline_default_s
        self._deadline_max_s = deadline_max_s
        self._ids = ids if ids is random_id else answering("ids", ids)
        self._service = service
        self._route = answering("route", route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        is_inner = _MARK in scope
        scope = altered(scope, {_MARK: True})
        said = headers_named(scope, _READ)
        caller = context.trace.get() if is_inner else self._caller(said)
        correlation = context.correlation_id.get() if is_inner else self._correlation(said)
        timeout_s = self._timeout_s(said, scope) if scope["type"] == "http" else None
        if not TRACERS:
            here = new_trace(self._ids) if caller is None else child_of(caller, self._ids)
            await self._serve(_TracedAnswer(send, correlation or here.trace_id), here, timeout_s, scope, receive)
            return
        opened = self._opened(scope, caller)
        with opened as span:
            answer = _TracedAnswer(send, correlation or span.trace.trace_id, span)

            def end() -> None:
                if not opened.has_ended:
                    self._rename(span, scope)
                    opened.end(None)

            answer.at_end.append(end)
            try:
                await self._serve(answer, span.trace, timeout_s, scope, receive)
            finally:
                if not opened.has_ended:
                    self._rename(span, scope)

    async def _serve(
        self, answer: _TracedAnswer, here: Trace, timeout_s: float | None, scope: Scope, receive: Receive
    ) -> None:
        with _Carried(here, answer, timeout_s) as at:
            if at is not None and at <= SYSTEM.monotonic() and scope["type"] == "http":
                await send_problem(answer, Problem(status=504, detail="The request arrived after its deadline."))
            else:
                await self._app(scope, receive, answer)

    def _caller(self, said: _Said) -> Trace | None:
        if not self._joins_traces:
            return None
        return parse_trace(said.get(b"traceparent", ()), said.get(b"tracestate", ()))

    def _opened(self, scope: Scope, caller: Trace | None) -> Opened:
        method = _method_of(scope)
        facts: dict[str, Value] = {"http.request.method": method, "url.path": scope.get("path", "")}
        if self._service is not None:
            facts["service.name"] = self._service
        return Opened(method, "server", facts, parent=NOWHERE if caller is None else caller)

    def _rename(self, span: Span, scope: Scope) -> None:
        route = told("route", self._route, innermost(scope), "")
        if route:
            span.note("http.route", route)
            span.rename(f"{_method_of(scope)} {route}")

    def _correlation(self, said: _Said) -> str | None:
        values = said.get(_CORRELATION_HEADER, ()) if self._joins_traces else ()
        return values[0] if len(values) == 1 and _CORRELATION.fullmatch(values[0]) else None

    def _timeout_s(self, said: _Said, scope: Scope) -> float | None:
        values = said.get(b"x-deadline-ms", ())
        if len(values) == 1 and _DEADLINE.fullmatch(values[0]) and told("trusts", self._trusts, scope, otherwise=False):
            return min(int(values[0]) / 1000, self._deadline_max_s)
        return self._deadline_default_s


def _method_of(scope: Scope) -> str:
    if scope["type"] == "websocket":
        return "WEBSOCKET"
    return scope["method"] if scope["method"] in METHODS else "other"


class _Carried:
    """Carries trace, correlation id and deadline, and gives the deadline; the request's own ends with its answer.

    A class, because a generator-based one costs four times as much.
    """

    __slots__ = ("_at", "_before", "_own")

    def __init__(self, trace: Trace, answer: _TracedAnswer, timeout_s: float | None) -> None:
        self._before = context.trace.get(), context.correlation_id.get(), context.deadline_at.get()
        # What is part of another call here, as an item of a batch is, gets no more time than that has.
        at = context.carried_deadline()
        self._own: Until | None = None
        if timeout_s is not None:
            own_at = SYSTEM.monotonic() + timeout_s
            if at is None or own_at < at:
                at = self._own = Until(own_at)
                answer.at_end.append(self._own.end)
        self._at = at
        context.trace.set(trace)
        context.correlation_id.set(answer.correlation)
        _carry_deadline(at)

    def __enter__(self) -> float | None:
        return self._at

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.end()
        # By value, not by token: an application that is dropped may be closed in another context.
        trace, correlation, at = self._before
        context.trace.set(trace)
        context.correlation_id.set(correlation)
        _carry_deadline(at)


def _carry_deadline(at: float | None) -> None:
    # Most requests carry none before and after, and to look costs a fifth of setting it again.
    if context.deadline_at.get() is not at:
        context.deadline_at.set(at)


class _TracedAnswer(AnswerEnd):
    """Stands as `send`: adds the correlation id, notes the status, and knows when the answer is complete."""

    def __init__(self, send: Send, correlation: str, span: Span | None = None) -> None:
        self._send = send
        self._span = span
        self.correlation = correlation
        self.at_end: list[Callable[[], None]] = []

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind in _STARTS:
            message = self._with_correlation(message)
        await self._send(message)
        if kind == "http.response.start" and self._span is not None:
            _note(self._span, message["status"])
        if self.is_complete_with(message):
            for end in self.at_end:
                end()

    def _with_correlation(self, message: Message) -> Message:
        headers: Headers = list(message.get("headers", ()))
        for name, _ in headers:
            if name.lower() == _CORRELATION_HEADER:
                return message
        headers.append((_CORRELATION_HEADER, self.correlation.encode()))
        return {**message, "headers": headers}


_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


def _note(span: Span, status: int) -> None:
    span.note("http.response.status_code", status)
    if status >= 500:
        span.fail(f"{status}")
