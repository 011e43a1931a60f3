"""Listeners and a tracer for the whole program, turned on by one call.

```
observe(PrometheusListener(), log_notices(), tracer=OpenTelemetryTracer(provider))
```
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from sdpatterns.core.notices import Listener, listen
from sdpatterns.core.tracing import Tracer, trace_with
from sdpatterns.observability.calls import CallMeter

__all__ = ["Observation", "observe"]

# A context manager to which no variable refers is closed when it is collected, and its listeners would be gone.
_RUNNING: set[Observation] = set()


class Observation:
    """What `observe` has turned on. It lasts as long as the program, or until `stop` or the end of its `with`."""

    __slots__ = ("_turned_on",)

    def __init__(self, turned_on: ExitStack) -> None:
        self._turned_on = turned_on

    def stop(self) -> None:
        """Turn off what was turned on. Calling it again changes nothing."""
        _RUNNING.discard(self)
        self._turned_on.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def observe(*listeners: Listener, tracer: Tracer | None = None) -> Observation:
    """Turn on listeners, and a tracer, for the whole program.

    Call it once, where the program starts. Each listener gets every event: `PrometheusListener()`,
    `log_notices()`, or a function of yours. With a tracer, requests, calls and attempts are spans, and listeners
    also get a `PassageFinished` with outcome and duration for each call through a pattern.

    **Keeps** nothing turned on if it raises. **May fail** with `ValueError` where the process has a tracer
    already, and TypeError for a listener that is async. **Costs** what the listeners and the tracer cost for each
    event; see `CallMeter`.
    """
    with ExitStack() as opened:
        if tracer is not None:
            metered = listeners and not isinstance(tracer, CallMeter)
            opened.enter_context(trace_with(CallMeter(tracer) if metered else tracer))
        for listener in listeners:
            opened.enter_context(listen(listener))
        observation = Observation(opened.pop_all())
    _RUNNING.add(observation)
    return observation
