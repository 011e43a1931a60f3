"""Spans kept in this process, without OpenTelemetry.

```
store = SpanStore()
with trace_with(RecordingTracer(store)), listen(note_on_span):
    ...
waterfall(store.spans(store.recent(1)[0].trace_id))
```

A span keeps what it is told as it is, and its secrets are taken out when it is read, so a request
does not pay for texts that are never read. For spans that leave the process use
`OpenTelemetryTracer` and an exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from sdpatterns.core import context
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import Trace
from sdpatterns.core.judging import answering
from sdpatterns.core.notices import Notice
from sdpatterns.core.tracecontext import child_of, new_trace
from sdpatterns.core.tracing import NOWHERE, SpanKind, Value
from sdpatterns.observability.redaction import redacted, redacted_text
from sdpatterns.observability.span_store import SpanStore
from sdpatterns.observability.spans import SpanEvent, SpanLink, SpanRecord

__all__ = ["RecordedSpan", "RecordingTracer", "SpanStore", "current_span", "note_on_span"]

_EVENTS_MAX = 128
_TEXT_CHARS_MAX = 1_000
_NO_SPAN = NOWHERE.span_id
_SERVICE = "service.name"


class RecordedSpan:
    """A span that keeps what it is told, and goes to the store when it ends."""

    __slots__ = (
        "_before",
        "_events",
        "_facts",
        "_kind",
        "_links",
        "_name",
        "_parent_id",
        "_started_us",
        "_store",
        "ended_us",
        "failed",
        "reason",
        "trace",
    )

    def __init__(
        self,
        store: SpanStore,
        position: Trace,
        parent_id: str,
        name: str,
        kind: SpanKind,
        facts: dict[str, Value],
        links: Sequence[Trace],
    ) -> None:
        self.trace = position
        self.failed = False
        self.reason = ""
        self.ended_us = 0
        self._store = store
        self._parent_id = parent_id
        self._name = name
        self._kind = kind
        self._facts = facts
        self._links = links
        self._events: list[tuple[str, int, Mapping[str, Any]]] | None = None
        self._before = _CURRENT.get()
        _CURRENT.set(self)
        self._started_us = SYSTEM.now_us()

    @property
    def service(self) -> Value | None:
        """The service that it notes, for the spans inside."""
        return self._facts.get(_SERVICE)

    def note(self, name: str, value: Value, /) -> None:
        self._facts[name] = value

    def rename(self, name: str, /) -> None:
        self._name = name

    def fail(self, reason: str, /) -> None:
        """It failed, though nothing was raised."""
        self.failed = True
        self.reason = reason

    def add_event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Something happened at this moment; of one span 128 events are kept."""
        if self._events is None:
            self._events = []
        if len(self._events) < _EVENTS_MAX:
            self._events.append((name, SYSTEM.now_us(), facts))

    def add_error(self, error: Exception) -> None:
        """It failed with this exception; the traceback is left out, as each span around would repeat it."""
        kind, message = type(error).__qualname__, _words_of(error)
        self._facts["error.type"] = kind
        self.add_event("exception", {"exception.type": kind, "exception.message": message})
        self.fail(f"{kind}: {message}")

    def end(self, error: BaseException | None, /) -> None:
        """End it; an `Exception` is recorded."""
        self.ended_us = SYSTEM.now_us()
        _CURRENT.set(self._before)  # by value: an async generator may be closed in another task's context
        if isinstance(error, Exception):
            self.add_error(error)
        if self.trace.sampled:
            self._store.keep(
                self.trace.trace_id,
                self.read,
                started_us=self._started_us,
                ended_us=self.ended_us,
                failed=self.failed,
            )

    def read(self) -> SpanRecord:
        """What is known of it, without secrets and card numbers."""
        facts = _plain(self._facts)
        return SpanRecord(
            trace_id=self.trace.trace_id,
            span_id=self.trace.span_id,
            parent_id=self._parent_id,
            name=redacted_text(self._name),
            service=str(facts.pop(_SERVICE, "")),
            kind=self._kind,
            started_us=self._started_us,
            ended_us=self.ended_us,
            failed=self.failed,
            error=redacted_text(self.reason)[:_TEXT_CHARS_MAX],
            attributes=facts,
            events=tuple(
                SpanEvent(name=redacted_text(name), at_us=at_us, attributes=_plain(facts))
                for name, at_us, facts in self._events or ()
            ),
            links=tuple(SpanLink(trace_id=link.trace_id, span_id=link.span_id) for link in self._links),
        )


_CURRENT: ContextVar[RecordedSpan | None] = ContextVar("sdpatterns_recorded_span", default=None)


def current_span() -> RecordedSpan | None:
    """The span that is open here, to add an event or an error to; None where there is none."""
    return _CURRENT.get()


def note_on_span(notice: Notice) -> None:
    """Add a notice to the current span as an event; pass it to `listen`."""
    span = _CURRENT.get()
    if span is not None and span.trace.sampled:
        span.add_event(f"sdpatterns.{notice.event}", {f"sdpatterns.{k}": v for k, v in notice.labels().items()})


class RecordingTracer:
    """Makes spans of guards, policies and the HTTP middleware that go to a `SpanStore`; pass it to `trace_with`.

    `samples` says of the first span of a trace, by its facts, whether the trace is kept (default: every
    one). A trace that comes from a caller is kept as its `traceparent` says. A span that notes
    `service.name` hands it on to the spans inside.

    **Keeps**: what was current before a span is current again after it, whichever task or thread ends it.
    Cancellation is no error. No secret and no card number is in what the store returns.
    **May fail** with nothing of its own; where `samples` raises, there is no span.
    **Costs** some ten microseconds a span, and its memory while the store holds it.
    """

    def __init__(self, store: SpanStore, *, samples: Callable[[Mapping[str, Value]], bool] | None = None) -> None:
        self._store = store
        self._samples = None if samples is None else answering("samples", samples)

    def here(self) -> Trace | None:
        """None: `context.trace` is the position."""
        return None

    def start(
        self,
        name: str,
        /,
        kind: SpanKind,
        facts: Mapping[str, Value],
        links: Sequence[Trace],
        parent: Trace | None,
    ) -> RecordedSpan:
        kept = dict(facts)
        if parent is None:
            outer = _CURRENT.get()
            if outer is not None and _SERVICE not in kept and outer.service is not None:
                kept[_SERVICE] = outer.service
            parent = context.trace.get()
        if parent is None or parent == NOWHERE:
            sampled = self._samples is None or self._samples(kept)
            return RecordedSpan(self._store, new_trace(sampled=sampled), "", name, kind, kept, links)
        return RecordedSpan(self._store, child_of(parent), parent.span_id, name, kind, kept, links)


def _words_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error that cannot be put into words is one all the same
        return ""


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts without secrets; texts are cut after that, because half a card number is not known for one."""
    found: dict[str, Any] = redacted(dict(facts))
    return {name: value[:_TEXT_CHARS_MAX] if isinstance(value, str) else value for name, value in found.items()}
