"""The one place where spans are made: by whom is set once, as listeners are.

```
with trace_with(OpenTelemetryTracer()):      # in the program's own start-up
    ...
guard --opened(...)--> TRACERS[0].start(...) --> span; context.trace names it until it ends
```

Without a tracer a guard pays one truth test: `if TRACERS and ...`. With one, `context.trace` and
the tracer's own current span are the same span for as long as it is open. A tracer that raises is
reported to the log and never harms the call.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias

from sdpatterns.core import context
from sdpatterns.core.context import Trace
from sdpatterns.core.tracecontext import new_trace
from sdpatterns.errors import Rejected

__all__ = [
    "NOWHERE",
    "TRACERS",
    "AttemptSpans",
    "Opened",
    "Span",
    "SpanKind",
    "Tracer",
    "Value",
    "decided_in_span",
    "here",
    "in_span",
    "opened_by",
    "stepped_in_span",
    "trace_with",
]

_log = logging.getLogger("sdpatterns")

SpanKind: TypeAlias = Literal["internal", "server", "client", "producer", "consumer"]
Value: TypeAlias = str | bool | int | float
"""What a span may note under a name."""

NOWHERE = Trace("0" * 32, "0" * 16)
"""As a parent: a new trace begins here, whatever is current."""


class Span(Protocol):
    """A piece of work that is timed."""

    @property
    def trace(self) -> Trace:
        """Where in its trace it stands."""
        ...

    def note(self, name: str, value: Value, /) -> None:
        """Keep a fact about it."""
        ...

    def rename(self, name: str, /) -> None:
        """Call it by what only came to light on the way, such as the route."""
        ...

    def fail(self, reason: str, /) -> None:
        """It did not do what it was for, though nothing was raised."""
        ...

    def end(self, error: BaseException | None, /) -> None:
        """It is over, with this exception where it failed. What is no `Exception` is no failure."""
        ...


class Tracer(Protocol):
    """Makes spans. The OpenTelemetry one is in `sdpatterns.observability.opentelemetry`."""

    def here(self) -> Trace | None:
        """The span that it holds to be the current one."""
        ...

    def start(
        self,
        name: str,
        /,
        kind: SpanKind,
        facts: Mapping[str, Value],
        links: Sequence[Trace],
        parent: Trace | None,
    ) -> Span:
        """A new span, current until it ends: in `parent`'s trace, else inside what is current."""
        ...


TRACERS: list[Tracer] = []
"""The tracer of this process, or none. Read it for its truth; change it through `trace_with`."""


@contextmanager
def trace_with(tracer: Tracer) -> Iterator[None]:
    """Make spans with `tracer` until the block ends. Raises `ValueError` if another tracer is set already."""
    if TRACERS:
        raise ValueError("this process has a tracer already")
    TRACERS.append(tracer)
    try:
        yield
    finally:
        TRACERS.remove(tracer)


def here() -> Trace | None:
    """The current position: the tracer's where there is one, else `context.trace`."""
    # Most programs have no tracer: the look for one is left out there.
    tracer = _tracer() if TRACERS else None
    found = None if tracer is None else tracer.here()
    return context.trace.get() if found is None else found


def _tracer() -> Tracer | None:
    # A program may stop tracing while calls are under way: a call that has seen a tracer may find none.
    return next(iter(TRACERS), None)


class _NoSpan:
    """The span of a call that finds no tracer any more."""

    __slots__ = ("trace",)

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def note(self, name: str, value: Value, /) -> None:
        """Nothing is kept."""

    def rename(self, name: str, /) -> None:
        """It has no name."""

    def fail(self, reason: str, /) -> None:
        """Nothing is kept."""

    def end(self, error: BaseException | None, /) -> None:
        """Nor for this."""


class Opened:
    """`with` one span that is `context.trace` meanwhile. To be used where `TRACERS` is not empty."""

    __slots__ = ("_before", "_is_passage", "_span", "has_ended", "is_refused")

    def __init__(
        self,
        name: str,
        kind: SpanKind = "internal",
        facts: Mapping[str, Value] | None = None,
        links: Sequence[Trace] = (),
        parent: Trace | None = None,
    ) -> None:
        self._before = context.trace.get()
        self._is_passage = kind == "internal"
        self.is_refused = self.has_ended = False
        span = _started(name, kind, facts or {}, links, parent)
        self._span: Span = span or _NoSpan(self._before or new_trace())
        if span is not None:
            context.trace.set(span.trace)

    def __enter__(self) -> Span:
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end(error)
        finally:
            context.trace.set(self._before)

    def end(self, error: BaseException | None) -> None:
        """End the span before the block does; what follows in the block stays in its trace."""
        if self.has_ended:
            return
        self.has_ended = True
        try:
            if self._is_passage:
                self._span.note("sdpatterns.outcome", "rejected" if self.is_refused else _outcome(error))
            if isinstance(error, Rejected):
                self._span.note("sdpatterns.refused_by", error.name)
            self._span.end(error)
        except Exception:  # noqa: BLE001 - whatever a tracer raises, the call must not feel it
            _log.exception("a tracer failed at the end of a span")


def _started(
    name: str, kind: SpanKind, facts: Mapping[str, Value], links: Sequence[Trace], parent: Trace | None
) -> Span | None:
    tracer = _tracer()
    try:
        return None if tracer is None else tracer.start(name, kind, facts, links, parent)
    except Exception:  # noqa: BLE001 - the same
        _log.exception("a tracer failed to begin the span %r", name)
        return None


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "success"
    if isinstance(error, Rejected):
        return "rejected"
    return "failure" if isinstance(error, Exception) else "cancelled"


def opened_by(pattern: object, name: str) -> Opened:
    """The span of one passage through a guard or policy."""
    kind = type(pattern).__name__
    return Opened(f"{kind} {name}", facts={"sdpatterns.pattern": kind, "sdpatterns.name": name})


async def in_span(part: Any, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `part.wrap` gave, called again inside a span, which it gets as `_span`."""
    with opened_by(part, part.name) as span:
        return await call(*args, _span=span, **kwargs)


async def decided_in_span(part: Any, decision: Awaitable[Any]) -> Any:
    """The answer of a verb that raises no refusal, such as `acquire`: its span says that it was one."""
    opened = opened_by(part, part.name)
    with opened:
        answer = await decision
        opened.is_refused = not answer.allowed
    return answer


async def stepped_in_span(verb: str, space: str, server: Mapping[str, Value], step: Awaitable[Any]) -> Any:
    """The answer of a store's server, in the client's span of it, named as OpenTelemetry names a database's."""
    with Opened(f"{verb} {space}", "client", {**server, "db.operation.name": verb}):
        return await step


class AttemptSpans:
    """A call that may be made several times: each in a span of its own, linked to the one before."""

    __slots__ = ("_call", "_last", "_name", "_number")

    def __init__(self, name: str, call: Any) -> None:
        self._name = name
        self._call = call
        self._number = 0
        self._last: tuple[Trace, ...] = ()

    def next(self) -> Opened:
        """The span of the attempt that comes now."""
        self._number += 1
        facts: dict[str, Value] = {"sdpatterns.name": self._name, "sdpatterns.attempt": self._number}
        attempt = Opened(f"attempt {self._number} {self._name}", facts=facts, links=self._last)
        self._last = (attempt.__enter__().trace,)
        return attempt

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One more attempt."""
        with self.next():
            return await self._call(*args, **kwargs)
