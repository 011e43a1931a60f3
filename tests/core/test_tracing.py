"""What becomes of calls that are under way when the program stops tracing."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider

from sdpatterns import Retry
from sdpatterns.core import context, tracing
from sdpatterns.core.tracing import Opened, opened_by, trace_with
from sdpatterns.observability.opentelemetry import OpenTelemetryTracer

pytestmark = pytest.mark.anyio


async def test_a_call_goes_on_when_its_tracer_is_taken_away_between_two_attempts() -> None:
    attempts: list[int] = []
    tracing_now = trace_with(OpenTelemetryTracer(TracerProvider(shutdown_on_exit=False)))

    async def fails_once() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            tracing_now.__exit__(None, None, None)
            raise OSError("once")
        return "done"

    tracing_now.__enter__()
    retrying = Retry(on=OSError, attempts_max=3, name="x").protect(fails_once)
    assert await retrying() == "done"
    assert len(attempts) == 2
    assert context.trace.get() is None
    assert tracing.here() is None


def test_a_span_that_is_opened_without_a_tracer_is_none_and_leaves_the_position() -> None:
    with Opened("x", "client") as span:
        span.note("a", 1)
        span.rename("y")
        span.fail("z")
        assert context.trace.get() is None
    with pytest.raises(OSError, match="x"), opened_by(None, "x"):
        raise OSError("x")
