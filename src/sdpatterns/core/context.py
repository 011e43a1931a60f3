"""What travels with a call: the moment by which it must end, and the trace it belongs to.

Both live in context variables and are restored by value. Between processes they travel as the
headers `X-Deadline-Ms` (milliseconds left, so that clocks need not agree) and `traceparent`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Self

from sdpatterns.core import clock

__all__ = [
    "Trace",
    "Until",
    "carried_deadline",
    "correlation_id",
    "deadline_at",
    "deadline_left_s",
    "trace",
    "with_deadline",
    "without_deadline",
]


class Trace(NamedTuple):
    """A position in a W3C trace: ids as lower-case hexadecimal, `state` as the raw tracestate.

    `random` says that the trace's id was drawn at random, so that samplers may rely on it.
    """

    trace_id: str
    span_id: str
    sampled: bool = True
    state: str = ""
    random: bool = False


class Until(float):
    """A deadline that may end before its time comes, as that of a request does with the answer.

    Tasks that copied the context share this object, so they see that it ended. `before` is the deadline
    that it took the place of.
    """

    __slots__ = ("before", "is_over")

    def __new__(cls, at: float, before: float | None = None) -> Self:
        """The monotonic second, and what was carried before it."""
        made = super().__new__(cls, at)
        made.before = before
        made.is_over = False
        return made

    before: float | None
    is_over: bool

    def end(self) -> None:
        """From now on it binds no call."""
        self.is_over = True


deadline_at: ContextVar[float | None] = ContextVar("sdpatterns_deadline_at", default=None)
"""The monotonic second by which the current call must end, or None."""

trace: ContextVar[Trace | None] = ContextVar("sdpatterns_trace", default=None)
"""The trace and span that the current call belongs to, or None."""

correlation_id: ContextVar[str | None] = ContextVar("sdpatterns_correlation_id", default=None)
"""The id that one customer action carries through every log line, or None."""


def carried_deadline() -> float | None:
    """The monotonic second by which the current call must end; None without one, and after it ended."""
    at = deadline_at.get()
    return None if isinstance(at, Until) and at.is_over else at


def deadline_left_s() -> float | None:
    """The seconds until the deadline of the current call (negative after it), or None without a deadline."""
    at = carried_deadline()
    return None if at is None else at - clock.SYSTEM.monotonic()


@contextmanager
def with_deadline(timeout_s: float) -> Iterator[float]:
    """Set a deadline for the calls inside: `timeout_s` seconds from now, or earlier if the caller's is earlier.

    This carries the bound and cancels nothing: the block itself may last as long as it likes. A
    `Timeout` inside ends its call at the bound, a `Retry` begins no attempt that would come after it,
    a limiter's `wait` no wait; `deadline_left_s()` and the header `X-Deadline-Ms` give it to other code. To have
    the work interrupted, use `Timeout`.

    It may be left in another task or thread than it was entered in, as in an asynchronous generator, a
    dependency or a fixture: then it changes nothing there. What is entered in one context is not seen
    in another, so a dependency that sets a deadline for its endpoint is an `async def`.

    Gives the seconds left, which may be none. Raises `ValueError` for what is no finite number.
    """
    _check_finite("timeout_s", timeout_s)
    now = clock.SYSTEM.monotonic()
    inherited = carried_deadline()
    if inherited is not None and inherited <= now + timeout_s:
        yield inherited - now
        return
    with _carrying(Until(now + timeout_s, deadline_at.get())) as at:
        yield at - now


@contextmanager
def without_deadline() -> Iterator[None]:
    """Run the calls inside without a deadline, even if the caller has one.

    For work that outlives the request in which it begins. A task keeps the deadline that was carried when
    it was made, so make it inside:

    ```python
    import asyncio
    from sdpatterns.core.context import deadline_left_s, with_deadline, without_deadline

    async def send_mail() -> float | None:
        return deadline_left_s()

    async def handler() -> float | None:
        with with_deadline(1.0):
            with without_deadline():
                mail = asyncio.create_task(send_mail())
            return await mail

    assert asyncio.run(handler()) is None
    ```

    A deadline that is set inside counts. What was carried before is carried again afterwards.
    """
    none = Until(math.inf, deadline_at.get())
    none.end()
    with _carrying(none):
        yield


@contextmanager
def _carrying(at: Until) -> Iterator[Until]:
    deadline_at.set(at)
    try:
        yield at
    finally:
        # By value, not by token, and only where it is still carried: an asynchronous generator may be
        # closed in another task, whose deadline must not change.
        found = deadline_at.get()
        while isinstance(found, Until) and found is not at:
            found = found.before
        if found is at:
            deadline_at.set(at.before)
        # A task that was made inside keeps this one, and is not to keep all those around it.
        at.before = None


def _check_finite(field: str, value: object) -> None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{field} must be a finite number of seconds, got {value!r}")
