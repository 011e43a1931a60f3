"""What a message takes along from its publisher to its handler: the trace, and the id of the customer's action."""

from __future__ import annotations

from collections.abc import Mapping

from sdpatterns.core.context import Trace, correlation_id
from sdpatterns.core.tracecontext import parse_trace, traceparent_of
from sdpatterns.core.tracing import here

__all__ = ["CORRELATION", "DEADLINE", "carried", "trace_in"]

CORRELATION = "correlation-id"
"""The header of the id."""
DEADLINE = "deadline-ms"
"""The header of the deadline: milliseconds from when the message was published."""


def carried() -> dict[str, str]:
    """The headers of a message that is published now."""
    headers: dict[str, str] = {}
    trace, correlation = here(), correlation_id.get()
    if trace is not None:
        headers["traceparent"] = traceparent_of(trace)
        if trace.state:
            headers["tracestate"] = trace.state
    if correlation is not None:
        headers[CORRELATION] = correlation
    return headers


def trace_in(headers: Mapping[str, str]) -> Trace | None:
    """The publisher's trace; None where the headers have none that can be read."""
    if "traceparent" not in headers:
        return None
    return parse_trace([headers["traceparent"]], [headers.get("tracestate", "")])
