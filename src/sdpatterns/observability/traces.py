"""The traces of this process that ended last, kept in memory to be looked at.

```
provider = TracerProvider()
provider.add_span_processor(store := TraceStore())
...
store.recent(20)                               # one line each
waterfall(store.spans(trace_id))               # ready to be drawn
```

It is for the page that shows what just happened, and for tests; what must be kept goes to a
collector by an exporter, beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from sdpatterns.observability.span_redaction import redacted_span
from sdpatterns.observability.span_store import SpanStore
from sdpatterns.observability.spans import SpanEvent, SpanLink, SpanRecord, TraceSummary, merged, summary_of
from sdpatterns.observability.waterfall import Row, Waterfall, waterfall

try:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.trace import StatusCode
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[traces]"') from missing

__all__ = ["Row", "SpanRecord", "TraceStore", "TraceSummary", "Waterfall", "merged", "summary_of", "waterfall"]

_TEXT_CHARS_MAX = 1_000


class TraceStore(SpanStore, SpanProcessor):
    """A `SpanStore` for the spans of OpenTelemetry's SDK; pass it to a `TracerProvider` as a span processor.

    It has the bounds, the verbs and the cost of `SpanStore`. No secret and no card number is in what it
    returns, even from spans of other libraries.
    """

    def on_end(self, span: ReadableSpan) -> None:
        """Keep one more span; the SDK calls it."""
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled:
            self.keep(
                f"{context.trace_id:032x}",
                functools.partial(_record, span),
                started_us=(span.start_time or 0) // 1000,
                ended_us=(span.end_time or 0) // 1000,
                failed=span.status.status_code is StatusCode.ERROR,
            )


def _record(ended: ReadableSpan) -> SpanRecord:
    span = redacted_span(ended)  # before any text is cut: half a card number is not known for one
    context = span.get_span_context()
    assert context is not None
    resource, attributes = span.resource.attributes, _plain(span.attributes)
    return SpanRecord(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_id=f"{span.parent.span_id:016x}" if span.parent else "",
        name=span.name,
        service=str(attributes.pop("service.name", resource.get("service.name", ""))),
        instance=str(resource.get("service.instance.id", "")),
        kind=span.kind.name.lower(),
        started_us=(span.start_time or 0) // 1000,
        ended_us=(span.end_time or 0) // 1000,
        failed=span.status.status_code is StatusCode.ERROR,
        error=(span.status.description or "")[:_TEXT_CHARS_MAX],
        attributes=attributes,
        events=tuple(
            SpanEvent(name=event.name, at_us=event.timestamp // 1000, attributes=_plain(event.attributes))
            for event in span.events
        ),
        links=tuple(
            SpanLink(
                trace_id=f"{link.context.trace_id:032x}",
                span_id=f"{link.context.span_id:016x}",
                attributes=_plain(link.attributes),
            )
            for link in span.links
        ),
    )


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: _cut(value) for name, value in (attributes or {}).items()}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_TEXT_CHARS_MAX]
    return [_cut(each) for each in value] if isinstance(value, tuple | list) else value
