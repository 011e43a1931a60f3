"""Who called whom, as the spans of this process say: rate, failures and p95 of each pair of services."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from sdpatterns.core.clock import SYSTEM
from sdpatterns.observability.recording import RecordedSpan
from sdpatterns.observability.spans import SpanRecord
from shop.stage.pulse import Beats

WINDOW_S = 30.0
VISITORS = "visitors"
_UNREAD_MAX = 2_000
_FINISHED = "sdpatterns.call_finished"


class TracedCalls:
    """Calls of the last `WINDOW_S`, by caller and callee. A trace begins with a call by `VISITORS`.

    Keeps: spans are read at a look, not while a request waits. Between two looks no more than
    `_UNREAD_MAX` spans are held; of more than that the newest count.
    """

    def __init__(self) -> None:
        self._unread: deque[RecordedSpan] = deque(maxlen=_UNREAD_MAX)
        self._calls: dict[tuple[str, str], Beats] = {}

    def note(self, span: RecordedSpan) -> None:
        """One more span of a call has begun."""
        self._unread.append(span)

    def clear(self) -> None:
        """Forget all."""
        self._unread.clear()
        self._calls.clear()

    def of(self, service: str) -> list[dict[str, Any]]:
        """The calls that a service made, and those of visitors to it."""
        self._read()
        now_s = SYSTEM.now_us() / 1e6
        return [
            {"from": caller, "to": callee, **beats.seen(now_s)._asdict()}
            for (caller, callee), beats in self._calls.items()
            if service == (callee if caller == VISITORS else caller)
        ]

    def _read(self) -> None:
        spans = list(self._unread)
        self._unread.clear()
        for span in spans:
            if span.ended_us:
                self._count(span.read())
            else:
                self._unread.append(span)

    def _count(self, span: SpanRecord) -> None:
        call = _call_of(span)
        if call is not None:
            beats = self._calls.setdefault((call.caller, call.callee), Beats(WINDOW_S))
            beats.add(span.ended_us / 1e6, failed=call.failed, duration_s=span.duration_us / 1e6)


class _Call(NamedTuple):
    """One call; one that got no answer, or one of 500 or more, has failed."""

    caller: str
    callee: str
    failed: bool


def _call_of(span: SpanRecord) -> _Call | None:
    """The call that a span is; None for a span inside a trace that is no call to another service."""
    if span.kind == "server":
        return None if span.parent_id else _Call(VISITORS, span.service, span.failed)
    told = next((event.attributes for event in span.events if event.name == _FINISHED), None)
    if told is None:
        return None
    return _Call(span.service, str(told["sdpatterns.to"]), told["sdpatterns.failed"] == "true")
