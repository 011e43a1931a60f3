"""What travels with a call: the moment by which it must end, and the trace it belongs to.

Both live in context variables and are restored by value. Between processes they travel as the
headers `X-Deadline-Ms` (milliseconds left, so that clocks need not agree) and `traceparent`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from sdpatterns.core import clock

__all__ = [
    "Trace",
    "correlation_id",
    "deadline_at",
    "deadline_left_s",
    "trace",
    "with_deadline",
]


class Trace(NamedTuple):
    """A position in a W3C trace: ids as lower-case hexadecimal, `state` as the raw tracestate."""

    trace_id: str
    span_id: str
    sampled: bool = True
    state: str = ""


deadline_at: ContextVar[float | None] = ContextVar("sdpatterns_deadline_at", default=None)
"""The monotonic second by which the current call must end, or None."""

trace: ContextVar[Trace | None] = ContextVar("sdpatterns_trace", default=None)
"""The trace and span that the current call belongs to, or None."""

correlation_id: ContextVar[str | None] = ContextVar("sdpatterns_correlation_id", default=None)
"""The id that one customer action carries through every log line, or None."""


def deadline_left_s() -> float | None:
    """Seconds left for the current call (negative when they are gone), or None without a bound."""
    at = deadline_at.get()
    return None if at is None else at - clock.SYSTEM.monotonic()


@contextmanager
def with_deadline(timeout_s: float) -> Iterator[float]:
    """Tell the calls inside that they have `timeout_s` seconds, or less where less was left.

    This carries the bound and cancels nothing: the block itself may last as long as it likes. A
    `Timeout` inside ends its call at the bound, a `Retry` begins no attempt that would come after it,
    a limiter's `wait` no wait; `deadline_left_s()` and the header `X-Deadline-Ms` tell others. To have
    the work interrupted, use `Timeout`.

    Gives the seconds left, which may be none. Raises `ValueError` for what is no finite number.
    """
    _check_finite("timeout_s", timeout_s)
    now = clock.SYSTEM.monotonic()
    inherited = deadline_at.get()
    at = now + timeout_s if inherited is None else min(inherited, now + timeout_s)
    token = deadline_at.set(at)
    try:
        yield at - now
    finally:
        deadline_at.reset(token)


def _check_finite(field: str, value: object) -> None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{field} must be a finite number of seconds, got {value!r}")
