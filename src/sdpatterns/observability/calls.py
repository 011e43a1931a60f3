"""Rate, errors and duration of each protected call, by guard or policy, name and outcome.

```
with trace_with(CallMeter(OpenTelemetryTracer())), listen(PrometheusListener()):
    ...
guard --> CallMeter --> PassageFinished(name, pattern, outcome, duration_s) --> counters and histograms
```
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import Trace
from sdpatterns.core.notices import LISTENERS, Notice, tell
from sdpatterns.core.tracing import Span, SpanKind, Tracer, Value

__all__ = ["CallMeter", "PassageFinished"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PassageFinished(Notice):
    """A call has gone through a guard or policy, or was refused. `outcome` is what its span notes."""

    pattern: str
    outcome: str
    duration_s: float

    def labels(self) -> dict[str, str]:
        """The name, the kind of guard or policy, and `success`, `failure`, `rejected` or `cancelled`."""
        return {"name": self.name, "pattern": self.pattern, "outcome": self.outcome}

    def measures(self) -> dict[str, float]:
        """How long it took, waiting included."""
        return {"duration_s": self.duration_s}


class CallMeter:
    """A tracer around your tracer that also emits a `PassageFinished` for each guard and policy.

    **Keeps**: the spans are those of the tracer within; the notice is emitted while the span is the
    current one, so that metrics get its trace as an exemplar. **May fail** as the tracer within does.
    **Costs** about two microseconds a passage besides the span, and nothing at all where it is not set.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def here(self) -> Trace | None:
        """The current span of the tracer within."""
        return self._tracer.here()

    def start(
        self,
        name: str,
        /,
        kind: SpanKind,
        facts: Mapping[str, Value],
        links: Sequence[Trace],
        parent: Trace | None,
    ) -> Span:
        """A span of the tracer within; timed, where it is a passage."""
        span = self._tracer.start(name, kind, facts, links, parent)
        pattern = facts.get("sdpatterns.pattern")
        return span if pattern is None else _Timed(span, str(pattern), str(facts["sdpatterns.name"]))


class _Timed:
    __slots__ = ("_name", "_outcome", "_pattern", "_span", "_started_s")

    def __init__(self, span: Span, pattern: str, name: str) -> None:
        self._span = span
        self._pattern = pattern
        self._name = name
        self._outcome = "success"
        self._started_s = SYSTEM.monotonic()

    @property
    def trace(self) -> Trace:
        return self._span.trace

    def note(self, name: str, value: Value, /) -> None:
        if name == "sdpatterns.outcome":
            self._outcome = str(value)
        self._span.note(name, value)

    def rename(self, name: str, /) -> None:
        self._span.rename(name)

    def fail(self, reason: str, /) -> None:
        self._span.fail(reason)

    def end(self, error: BaseException | None, /) -> None:
        if LISTENERS:
            duration_s = SYSTEM.monotonic() - self._started_s
            tell(PassageFinished(name=self._name, pattern=self._pattern, outcome=self._outcome, duration_s=duration_s))
        self._span.end(error)
