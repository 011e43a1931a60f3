"""Spans and notices for OpenTelemetry, through its API alone: which SDK and exporter run is the user's choice.

```
with trace_with(OpenTelemetryTracer()), listen(OpenTelemetryListener()):
    ...
```

`OpenTelemetryTracer` makes a span of each request, each protected call and each attempt. For
`OpenTelemetryListener` a notice is an event on the current span and one more on a counter; each of
its measures is recorded in a histogram. Without an SDK all of it is a no-op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sdpatterns.core import context
from sdpatterns.core.context import Trace
from sdpatterns.core.notices import Notice
from sdpatterns.core.tracing import NOWHERE, SpanKind, Value
from sdpatterns.observability.redaction import redacted, redacted_name, redacted_text

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, trace
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[opentelemetry]"') from missing

__all__ = ["OpenTelemetryListener", "OpenTelemetrySpan", "OpenTelemetryTracer"]

_KINDS: dict[str, trace.SpanKind] = {kind.name.lower(): kind for kind in trace.SpanKind}
_RANDOM = 0x02
_SERVICE = "service.name"


class OpenTelemetryListener:
    """Counts notices as OpenTelemetry metrics and adds them to the current span; pass it to `listen`.

    It uses the global providers of the API, unless you give `meter_provider`.
    """

    def __init__(
        self,
        *,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._meter = metrics.get_meter("sdpatterns", meter_provider=meter_provider)
        self._counters: dict[str, metrics.Counter] = {}
        self._histograms: dict[str, metrics.Histogram] = {}

    def __call__(self, notice: Notice) -> None:
        """Put one notice on the current span and into the meters."""
        event = notice.event
        labels = notice.labels()
        span = trace.get_current_span()
        if span.is_recording():
            span.add_event(f"sdpatterns.{event}", redacted({f"sdpatterns.{k}": v for k, v in labels.items()}))
        counter = self._counters.get(event)
        if counter is None:
            counter = self._counters[event] = self._meter.create_counter(f"sdpatterns.{event}")
        counter.add(1, labels)
        for measure, value in notice.measures().items():
            self._histogram(event, measure).record(value, labels)

    def _histogram(self, event: str, measure: str) -> metrics.Histogram:
        name = f"sdpatterns.{event}.{measure.removesuffix('_s')}"
        histogram = self._histograms.get(name)
        if histogram is None:
            histogram = self._histograms[name] = self._meter.create_histogram(name, unit="s")
        return histogram


class OpenTelemetryTracer:
    """Makes OpenTelemetry spans of guards, policies and the HTTP middleware; pass it to `trace_with`.

    The tracer comes from `tracer_provider`, else from the API's global one. A span goes into the
    trace that the caller's headers name, else into OpenTelemetry's current span, else into
    `context.trace`; and whichever is open is both, so that spans of your own and of other libraries
    stand where they belong. A span that notes `service.name`, as a request's does for a process
    with several services in it, hands it on to the spans inside.

    **Keeps**: a span ends exactly once, and what was current before is current again, whichever
    task or thread ends it. Cancellation is no error. No secret and no card number is written into
    a span of ours, not even one from an exception's message (see `redaction`).
    **May fail** with nothing of its own.
    **Costs** about 30 microseconds a span with the SDK and a `TraceStore`, 10 without an SDK.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("sdpatterns", tracer_provider=tracer_provider)

    def here(self) -> Trace | None:
        """OpenTelemetry's current span, or None."""
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return None
        known = context.trace.get()
        return known if known is not None and _is_of(known, found) else _trace_of(found, known)

    def start(
        self,
        name: str,
        /,
        kind: SpanKind,
        facts: Mapping[str, Value],
        links: Sequence[Trace],
        parent: Trace | None,
    ) -> OpenTelemetrySpan:
        before = contexts.get_current()
        outer = trace.get_current_span(before)
        if parent is None and not outer.get_span_context().is_valid:
            parent = context.trace.get()
        if parent == NOWHERE:
            outer, parent = trace.INVALID_SPAN, None
        elif parent is not None:
            outer = trace.NonRecordingSpan(_context_of(parent))
        else:
            parent = context.trace.get()
        span = self._tracer.start_span(
            redacted_name(name),
            trace.set_span_in_context(outer, before),
            kind=_KINDS[kind],
            attributes=redacted({**_inherited(outer), **facts}),
            links=[trace.Link(_context_of(link)) for link in links],
        )
        contexts.attach(trace.set_span_in_context(span, before))
        return OpenTelemetrySpan(span, before, _trace_of(span.get_span_context(), parent))


class OpenTelemetrySpan:
    """A span of the SDK's that knows what was current before it."""

    __slots__ = ("_before", "_span", "trace")

    def __init__(self, span: trace.Span, before: contexts.Context, position: Trace) -> None:
        self._span = span
        self._before = before
        self.trace = position

    def note(self, name: str, value: Value, /) -> None:
        self._span.set_attribute(name, redacted(value, name))

    def rename(self, name: str, /) -> None:
        self._span.update_name(redacted_name(name))

    def fail(self, reason: str, /) -> None:
        """Set its status to an error."""
        self._span.set_status(trace.StatusCode.ERROR, redacted_text(reason))

    def end(self, error: BaseException | None, /) -> None:
        """End it; an `Exception` is recorded, without the traceback, which each span around it would repeat."""
        try:
            if isinstance(error, Exception) and self._span.is_recording():
                self._record(error)
        finally:
            # By value, not by token: an async generator may be closed in another task's context.
            contexts.attach(self._before)
            self._span.end()

    def _record(self, error: Exception) -> None:
        kind, message = type(error).__qualname__, redacted_text(_words_of(error))
        self._span.set_attribute("error.type", kind)
        self._span.add_event("exception", {"exception.type": kind, "exception.message": message})
        self._span.set_status(trace.StatusCode.ERROR, f"{kind}: {message}")


def _words_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error that cannot be put into words is one all the same
        return ""


def _inherited(outer: trace.Span) -> dict[str, Value]:
    service = (getattr(outer, "attributes", None) or {}).get(_SERVICE)
    return {} if service is None else {_SERVICE: service}


def _is_of(known: Trace, found: trace.SpanContext) -> bool:
    """Whether a position is that of a span, which is so for each of ours while it is open."""
    return (
        int(known.span_id, 16) == found.span_id
        and int(known.trace_id, 16) == found.trace_id
        and known.sampled == found.trace_flags.sampled
    )


def _trace_of(found: trace.SpanContext, known: Trace | None) -> Trace:
    state = found.trace_state.to_header() if found.trace_state else ""
    if known is not None and known.state and trace.TraceState.from_header([known.state]).to_header() == state:
        state = known.state  # as it came: the API may read less of it than we may pass on
    trace_id, flags = f"{found.trace_id:032x}", found.trace_flags
    # An SDK may not pass the flag for random ids on, which belongs to the trace.
    random = bool(flags & _RANDOM) or (known is not None and known.trace_id == trace_id and known.random)
    return Trace(trace_id, f"{found.span_id:016x}", sampled=flags.sampled, state=state, random=random)


def _context_of(position: Trace) -> trace.SpanContext:
    return trace.SpanContext(
        int(position.trace_id, 16),
        int(position.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED * position.sampled | _RANDOM * position.random),
        trace_state=trace.TraceState.from_header([position.state] if position.state else []),
    )
