"""The traces of this process: what just happened, span by span, kept for the control room to look at."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdpatterns.core.context import Trace
from sdpatterns.core.tracing import TRACERS, SpanKind, Value, trace_with
from sdpatterns.observability.recording import RecordedSpan, RecordingTracer, SpanStore
from shop.stage.faults import is_watching
from shop.stage.traced_calls import TracedCalls
from shop.validation import whole

PROCESS = secrets.token_hex(8)  # tells control which services share a store
KEPT = SpanStore(traces_max=200, spans_max=120)
CALLS = TracedCalls()
_LISTED_MAX = 200
_UNTOLD = ("/control", "/static", "/docs")


def _is_told(facts: Mapping[str, Value]) -> bool:
    """Traces begin with a request of the shop's visitors: neither with a look at it nor with its own housekeeping."""
    path = str(facts.get("url.path", ""))  # only the span of a request has one
    return bool(path) and not is_watching(path) and not path.startswith(_UNTOLD)


class _Tracer(RecordingTracer):
    """Keeps the spans for the waterfall, and those of calls for the service map."""

    def start(
        self,
        name: str,
        /,
        kind: SpanKind,
        facts: Mapping[str, Value],
        links: Sequence[Trace],
        parent: Trace | None,
    ) -> RecordedSpan:
        """A new span."""
        span = super().start(name, kind, facts, links, parent)
        if kind in ("client", "server") and span.trace.sampled:
            CALLS.note(span)
        return span


@contextmanager
def traced() -> Iterator[None]:
    """Make spans and keep them during the block; a process that makes some already goes on as it does."""
    if TRACERS:
        yield
        return
    try:
        with trace_with(_Tracer(KEPT, samples=_is_told)):
            yield
    finally:
        KEPT.clear()
        CALLS.clear()


def routes() -> list[Route]:
    """Where the control room reads them."""

    async def recent(request: Request) -> Response:
        number = min(whole(request.query_params, "limit") or _LISTED_MAX, _LISTED_MAX)
        return _told([trace.as_json() for trace in KEPT.recent(number)])

    async def spans(request: Request) -> Response:
        return _told([span.as_json() for span in KEPT.spans(request.path_params["trace_id"])])

    return [Route("/internal/traces", recent), Route("/internal/traces/{trace_id}", spans)]


def _told(rows: list[dict[str, Any]]) -> Response:
    return JSONResponse({"process": PROCESS, "rows": rows})
