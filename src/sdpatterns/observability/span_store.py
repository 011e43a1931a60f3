"""The traces of this process that ended last, kept in memory to be looked at; needs no library.

```
tracer --> span ends --> SpanStore.keep(trace, how to read the span) --> recent(), spans(trace_id)
```

`RecordingTracer` fills it; `traces.TraceStore` is the same for spans of OpenTelemetry's SDK.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TypeAlias

from sdpatterns.core.forks import new_lock
from sdpatterns.observability.spans import SpanRecord, TraceSummary, merged, summary_of

__all__ = ["SpanStore"]

ReadSpan: TypeAlias = Callable[[], SpanRecord]


class _Kept:
    """The spans of one trace: they become plain values when they are read."""

    __slots__ = ("dropped", "ended_us", "is_notable", "spans", "summary")

    def __init__(self, spans_max: int) -> None:
        self.spans: deque[ReadSpan] = deque(maxlen=spans_max)
        self.dropped = 0
        self.ended_us = 0
        self.is_notable = False
        self.summary: TraceSummary | None = None

    def in_one_line(self, spans: list[ReadSpan], dropped: int) -> TraceSummary:
        """The trace as of these spans; kept, because to read a span without its secrets costs more than to end it."""
        known = self.summary
        if known is None or known.spans + known.dropped != len(spans) + dropped:
            known = self.summary = summary_of((read() for read in spans), dropped=dropped)
        return known


class SpanStore:
    """Keeps the latest traces in memory, to show them.

    `traces_max` traces of `spans_max` spans each. A trace with a failed span, or one that took
    `slow_s` or longer, is notable, and ordinary ones make room first, as long as the notable are
    no more than half of all.

    **Keeps**: never more than these bounds; of a trace with too many spans those that ended last,
    among them its root. Many threads may end spans and read at once.
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
        self._slow_us = slow_s * 1e6
        self._lock = new_lock()
        self._ordinary: OrderedDict[str, _Kept] = OrderedDict()
        self._notable: OrderedDict[str, _Kept] = OrderedDict()

    def keep(self, trace_id: str, read: ReadSpan, *, started_us: int, ended_us: int, failed: bool) -> None:
        """Keep one more span that has ended; `read` gives it, without secrets, when it is asked for."""
        is_notable = failed or ended_us - started_us >= self._slow_us
        with self._lock:
            kept = None if is_notable else self._ordinary.get(trace_id)
            if kept is None:
                kept = self._touched(trace_id, is_notable=is_notable)
            else:
                self._ordinary.move_to_end(trace_id)
            kept.dropped += len(kept.spans) == self._spans_max
            kept.spans.append(read)
            kept.ended_us = max(kept.ended_us, ended_us)

    def _touched(self, trace_id: str, *, is_notable: bool) -> _Kept:
        kept = self._ordinary.pop(trace_id, None) or self._notable.pop(trace_id, None) or _Kept(self._spans_max)
        kept.is_notable |= is_notable
        (self._notable if kept.is_notable else self._ordinary)[trace_id] = kept
        if len(self._ordinary) + len(self._notable) > self._traces_max:
            crowded = len(self._notable) > self._traces_max // 2
            (self._notable if crowded else self._ordinary).popitem(last=False)
        return kept

    def recent(self, n: int = 50) -> list[TraceSummary]:
        """At most `n` traces in one line each, the newest first; only those with new spans are read again."""
        with self._lock:
            every = [*self._ordinary.values(), *self._notable.values()]
            every.sort(key=lambda kept: kept.ended_us, reverse=True)
            last = [(kept, list(kept.spans), kept.dropped) for kept in every[: max(0, n)]]
        return merged(kept.in_one_line(spans, dropped) for kept, spans, dropped in last)

    def spans(self, trace_id: str) -> list[SpanRecord]:
        """What is known of one trace (32 hexadecimal digits), as it ended; empty for an unknown one."""
        trace_id = trace_id.lower()
        with self._lock:
            kept = self._ordinary.get(trace_id) or self._notable.get(trace_id)
            found = [] if kept is None else list(kept.spans)
        return [read() for read in found]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._ordinary.clear()
            self._notable.clear()
