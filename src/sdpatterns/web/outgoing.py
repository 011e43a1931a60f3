"""What a client's request needs, with any HTTP library: its pipeline, its headers, its span.

| header sent | from |
|---|---|
| `traceparent`, `tracestate` | the current trace, with a span for each attempt |
| `X-Deadline-Ms` | the milliseconds that the current call has left |
| `X-Correlation-Id` | the current correlation id |
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, MutableMapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import correlation_id, deadline_left_s, trace
from sdpatterns.core.pipeline import Pipeline
from sdpatterns.core.policy import AsyncCall, Keyed, Policy, check_keyed
from sdpatterns.core.ranges import whole
from sdpatterns.core.tracecontext import child_of, traceparent_of
from sdpatterns.core.tracing import TRACERS, Opened, Span, Value
from sdpatterns.errors import DeadlineExceeded

__all__ = ["BODY_BYTES_MAX", "UNAVAILABLE", "Outgoing", "is_endless", "note_answer", "opened", "retry_after_s"]

UNAVAILABLE = (429, 502, 503, 504)
"""The statuses that count as failures where the user names no others."""
BODY_BYTES_MAX = 8 * 1024 * 1024
"""The longest body that is read inside the attempt where the user names no other bound."""

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
_RETRY_AFTER_MAX_S = 86_400.0
_ENDLESS = frozenset(
    {
        "text/event-stream",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/json-seq",
        "application/stream+json",
        "multipart/x-mixed-replace",
    }
)
"""Types of bodies that are sent piece by piece and may never end."""


class _Asked(Protocol):
    """The headers of a request or an answer."""

    def __contains__(self, name: object, /) -> bool: ...
    def get(self, name: str, /) -> Any: ...


def retry_after_s(value: str | None) -> float | None:
    """The seconds that a Retry-After header asks for, from 0 to a day; None for none or nonsense."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), _RETRY_AFTER_MAX_S)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return min(max(0.0, at.timestamp() - SYSTEM.now_us() / 1e6), _RETRY_AFTER_MAX_S)


def is_endless(headers: _Asked) -> bool:
    """Whether the type of a body says that it comes piece by piece, such as a stream of events."""
    kind = headers.get("content-type")
    return kind is not None and kind.partition(";")[0].strip().lower() in _ENDLESS


class Outgoing:
    """The requests of one client: which pipeline each takes, and what each carries."""

    def __init__(
        self, pipeline: Policy, unavailable: Collection[int], *, carries_context: bool, body_bytes_max: int
    ) -> None:
        check_keyed(pipeline, None)
        self.name = pipeline.name
        self.body_bytes_max = whole("body_bytes_max", body_bytes_max, 0, sys.maxsize)
        self._pipeline = pipeline
        self._single = _without_retry(pipeline)
        self._unavailable = frozenset(unavailable)
        self._carries_context = carries_context

    def around(self, call: AsyncCall) -> tuple[AsyncCall, AsyncCall]:
        """`call` in the pipeline, and in what is left of it without its retries."""
        single = self._single
        return self._pipeline.wrap(call), call if single is None else single.wrap(call)

    @staticmethod
    def may_repeat(method: str, headers: _Asked) -> bool:
        """Whether sending the request twice does what sending it once does."""
        return method in _REPEATABLE or "idempotency-key" in headers

    def is_unavailable(self, status: int) -> bool:
        """Whether an answer with this status counts as a failure."""
        return status in self._unavailable

    def left_s(self) -> float | None:
        """The seconds that the attempt has, None for no bound. Raises `DeadlineExceeded` for none left."""
        left_s = deadline_left_s()
        if left_s is not None and left_s <= 0:
            raise DeadlineExceeded(self.name, 0.0)
        return left_s

    def carry(self, headers: MutableMapping[str, str], left_s: float | None) -> None:
        """Write what travels along into the headers of one attempt."""
        if not self._carries_context:
            return
        found: dict[str, str] = {}
        here = trace.get()
        if here is not None:
            # With a tracer there is a span for this attempt, and it is the current one.
            found["traceparent"] = traceparent_of(here if TRACERS else child_of(here))
            if here.state:
                found["tracestate"] = here.state
        if left_s is not None:
            found["x-deadline-ms"] = str(int(left_s * 1000))
        correlation = correlation_id.get()
        if correlation is not None and "x-correlation-id" not in headers:
            found["x-correlation-id"] = correlation
        headers.update(found)  # at once, because httpx looks at all headers for each that is set

    def is_read(self, headers: _Asked) -> bool:
        """Whether the body of an answer with these headers is read inside the attempt."""
        length = headers.get("content-length")
        if length is not None and length.isdigit() and int(length) > self.body_bytes_max:
            return False
        return not is_endless(headers)


def opened(method: str, url: str, host: str) -> Opened:
    """The span of one attempt. `url` comes without user, password and query: they may be secrets."""
    facts: Mapping[str, Value] = {"http.request.method": method, "url.full": url, "server.address": host}
    return Opened(method, "client", facts)


def note_answer(span: Span, status: int) -> None:
    """Keep the status; one of 400 or more is a failure of the attempt."""
    span.note("http.response.status_code", status)
    if status >= 400:
        span.fail(f"{status}")


def _without_retry(policy: Policy) -> Policy | None:
    """The same part without anything that would repeat the call; None when nothing is left."""
    inner = policy.part if isinstance(policy, Keyed) else policy
    if not isinstance(inner, Pipeline):
        return None if "repeats" in inner.traits else policy
    left = [part for part in map(_without_retry, inner.parts) if part is not None]
    return Pipeline(*left, name=inner.name) if left else None
