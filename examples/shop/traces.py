"""The traces of this process: what just happened, span by span, kept for the control room to look at."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdpatterns.core.tracing import TRACERS, trace_with
from sdpatterns.observability.opentelemetry import OpenTelemetryTracer
from sdpatterns.observability.traces import TraceStore
from shop.faults import is_watching
from shop.values import whole

PROCESS = secrets.token_hex(8)  # tells control which services share a store
KEPT = TraceStore(traces_max=200, spans_max=120)
_LISTED_MAX = 200
_UNTOLD = ("/control", "/static", "/docs")


class _Requests(Sampler):
    """Traces begin with a request of the shop's visitors: neither with a look at it nor with its own housekeeping."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Record it, or drop it with all that comes of it."""
        path = str((attributes or {}).get("url.path", ""))
        told = kind is SpanKind.SERVER and not is_watching(path) and not path.startswith(_UNTOLD)
        return SamplingResult(Decision.RECORD_AND_SAMPLE if told else Decision.DROP, attributes)

    def get_description(self) -> str:
        """What it is called in OpenTelemetry."""
        return "requests of visitors"


@contextmanager
def traced() -> Iterator[None]:
    """Make spans and keep them during the block; a process that makes some already goes on as it does."""
    if TRACERS:
        yield
        return
    provider = TracerProvider(sampler=ParentBased(_Requests()), resource=Resource.get_empty(), shutdown_on_exit=False)
    provider.add_span_processor(KEPT)
    try:
        with trace_with(OpenTelemetryTracer(provider)):
            yield
    finally:
        provider.shutdown()
        KEPT.clear()


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
