"""Hazard 6: steps of the wall clock and time zones. A breaker lives by the monotonic clock."""

from __future__ import annotations

import time

import pytest

from sdpatterns import CircuitBreaker, Window
from sdpatterns.errors import CircuitIsOpen
from sdpatterns.testing.clock import VirtualClock


def fail() -> None:
    raise ConnectionError


@pytest.mark.parametrize("step_s", [-86_400.0, 86_400.0])
def test_a_step_of_the_wall_clock_moves_nothing(
    step_s: float, virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = CircuitBreaker("sick", failure_rate=1.0, window=Window.seconds(60), calls_min=2, open_s=30.0)
    call = breaker.protect(fail)
    with pytest.raises(ConnectionError):
        call()
    wall, wall_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: wall() + step_s)
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + int(step_s * 1e9))
    monkeypatch.setattr(virtual_clock, "now_us", lambda: int((wall() + step_s) * 1e6))
    with pytest.raises(ConnectionError):
        call()
    with pytest.raises(CircuitIsOpen) as caught:
        call()
    assert caught.value.retry_after_s == pytest.approx(30.0)
    virtual_clock.advance(29.0)
    with pytest.raises(CircuitIsOpen):
        call()
    virtual_clock.advance(1.0)
    with pytest.raises(ConnectionError):
        call()


def test_a_change_of_time_zone_moves_nothing(virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = CircuitBreaker("sick", consecutive=1, open_s=30.0)
    with pytest.raises(ConnectionError):
        breaker.protect(fail)()
    try:
        monkeypatch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        with pytest.raises(CircuitIsOpen) as caught:
            breaker.protect(fail)()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert caught.value.retry_after_s == pytest.approx(30.0)
