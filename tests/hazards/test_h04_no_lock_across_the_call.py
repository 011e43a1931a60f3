"""Hazard 4: a lock held across the call. Here calls overlap, also from threads, and may nest."""

from __future__ import annotations

import threading

from sdpatterns import Bulkhead, CircuitBreaker
from sdpatterns.core.notices import listen
from tests.threads import in_threads


def test_eight_calls_are_inside_at_once() -> None:
    """Each waits inside the call until all eight are there."""
    breaker, bulkhead = CircuitBreaker("busy"), Bulkhead("busy", concurrent_max=8)
    meeting = threading.Barrier(8)

    @bulkhead.protect
    @breaker.protect
    def call() -> int:
        return meeting.wait(60)

    assert sorted(in_threads(call)) == list(range(8))


def test_the_callers_code_may_use_the_breaker_it_is_called_by() -> None:
    """As predicate, listener or callee: none of it runs under the lock."""
    breaker = CircuitBreaker("busy", consecutive=1, failures=lambda error: breaker.snapshot().calls >= 0)
    seen = []

    def work() -> None:
        breaker.snapshot()
        raise ConnectionError

    def run() -> None:
        with listen(lambda notice: seen.append(breaker.state)):
            try:
                breaker.protect(work)()
            except ConnectionError:
                seen.append("raised")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert [str(item) for item in seen] == ["CircuitState.OPEN", "raised"]
