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

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from sdpatterns.core.forks import new_lock
from sdpatterns.observability.span_redaction import redacted_span
from sdpatterns.observability.spans import SpanEvent, SpanLink, SpanRecord, TraceSummary, merged, summary_of
from sdpatterns.observability.waterfall import Row, Waterfall, waterfall

try:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.trace import StatusCode
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[traces]"') from missing

__all__ = ["Row", "SpanRecord", "TraceStore", "TraceSummary", "Waterfall", "merged", "summary_of", "waterfall"]

_TEXT_CHARS_MAX = 1_000


class _Kept:
    """The spans of one trace, as the SDK gave them: they become plain values when they are read."""

    __slots__ = ("dropped", "ended_ns", "is_notable", "spans")

    def __init__(self, spans_max: int) -> None:
        self.spans: deque[ReadableSpan] = deque(maxlen=spans_max)
        self.dropped = 0
        self.ended_ns = 0
        self.is_notable = False


class TraceStore(SpanProcessor):
    """Keeps the latest traces in memory, to show them; pass it to a `TracerProvider` as a span processor.

    `traces_max` traces of `spans_max` spans each. A trace with a failed span, or one that took
    `slow_s` or longer, is notable, and ordinary ones make room first, as long as the notable are
    no more than half of all.

    **Keeps**: never more than these bounds; of a trace with too many spans those that ended last,
    among them its root. No secret and no card number is in what it returns, even from spans of other
    libraries. Many threads may end spans and read at once.
    **May fail** with nothing; `ValueError` for bounds below 1.
    **Costs** about a microsecond for each span that ends, and the memory of the spans it holds.
    """

    def __init__(self, *, traces_max: int = 500, spans_max: int = 200, slow_s: float = 1.0) -> None:
        for field, value in (("traces_max", traces_max), ("spans_max", spans_max)):
            if value < 1:
                raise ValueError(f"{field} must be at least 1, got {value!r}")
        if not slow_s > 0:
            raise ValueError(f"slow_s must be above 0, got {slow_s!r}")
        self._traces_max = traces_max
        self._spans_max = spans_max
        self._slow_ns = slow_s * 1e9
        self._lock = new_lock()
        self._ordinary: OrderedDict[int, _Kept] = OrderedDict()
        self._notable: OrderedDict[int, _Kept] = OrderedDict()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep one more span; the SDK calls it."""
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return
        with self._lock:
            kept = self._touched(context.trace_id, is_notable=self._is_notable(span))
            kept.dropped += len(kept.spans) == self._spans_max
            kept.spans.append(span)
            kept.ended_ns = max(kept.ended_ns, span.end_time or 0)

    def _is_notable(self, span: ReadableSpan) -> bool:
        return span.status.status_code is StatusCode.ERROR or _duration_ns(span) >= self._slow_ns

    def _touched(self, trace_id: int, *, is_notable: bool) -> _Kept:
        kept = self._ordinary.pop(trace_id, None) or self._notable.pop(trace_id, None) or _Kept(self._spans_max)
        kept.is_notable |= is_notable
        (self._notable if kept.is_notable else self._ordinary)[trace_id] = kept
        if len(self._ordinary) + len(self._notable) > self._traces_max:
            crowded = len(self._notable) > self._traces_max // 2
            (self._notable if crowded else self._ordinary).popitem(last=False)
        return kept

    def recent(self, n: int = 50) -> list[TraceSummary]:
        """At most `n` traces in one line each, the newest first."""
        with self._lock:
            every = [*self._ordinary.values(), *self._notable.values()]
            every.sort(key=lambda kept: kept.ended_ns, reverse=True)
            last = [(list(kept.spans), kept.dropped) for kept in every[: max(0, n)]]
        return merged(summary_of(map(_record, spans), dropped=dropped) for spans, dropped in last)

    def spans(self, trace_id: str) -> list[SpanRecord]:
        """What is known of one trace (32 hexadecimal digits), as it ended; empty for an unknown one."""
        try:
            number = int(trace_id, 16)
        except ValueError:
            return []
        with self._lock:
            kept = self._ordinary.get(number) or self._notable.get(number)
            found = [] if kept is None else list(kept.spans)
        return [_record(span) for span in found]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._ordinary.clear()
            self._notable.clear()


def _duration_ns(span: ReadableSpan) -> int:
    return (span.end_time or 0) - (span.start_time or 0)


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
