"""What becomes of calls whose tracer is taken away, or raises."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from sdpatterns import Bulkhead, RateLimiter, Retry, per_second
from sdpatterns.core import context, tracing
from sdpatterns.core.context import Trace
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


class Broken:
    """A tracer that raises when a span begins, or when it ends."""

    trace = Trace("1" * 32, "2" * 16)

    def __init__(self, when: str) -> None:
        self._when = when

    def here(self) -> Trace | None:
        return None

    def start(self, *_: Any) -> Any:
        if self._when == "start":
            raise RuntimeError("the sampler is broken")
        return self

    def note(self, *_: Any) -> None: ...
    def rename(self, *_: Any) -> None: ...
    def fail(self, *_: Any) -> None: ...

    def end(self, _error: BaseException | None) -> None:
        raise RuntimeError("the processor is broken")


@pytest.mark.parametrize("when", ["start", "end"])
async def test_a_tracer_that_raises_harms_no_call(when: str, caplog: pytest.LogCaptureFixture) -> None:
    slots, limiter = Bulkhead("quotes", concurrent_max=1), RateLimiter("api", per_second(1))

    @slots.protect
    async def fetch(answer: str) -> str:
        if answer == "fails":
            raise OSError(answer)
        return answer

    with trace_with(Broken(when)), caplog.at_level(logging.ERROR, "sdpatterns"):
        assert await fetch("101.5") == "101.5"
        with pytest.raises(OSError, match="fails"):
            await fetch("fails")
        async with slots.guard():
            assert slots.occupancy() == (1, 0)
        assert (await limiter.acquire("tom")).allowed
        assert context.trace.get() is None
    assert slots.occupancy() == (0, 0)
    assert len(caplog.records) == 4
