from __future__ import annotations

import time

import pytest

from sdpatterns.core.clock import SYSTEM, Clock


def test_it_tells_the_time() -> None:
    assert abs(SYSTEM.now_us() / 1e6 - time.time()) < 60
    assert type(SYSTEM.now_us()) is int
    assert abs(SYSTEM.monotonic() - time.monotonic()) < 60


def test_it_never_goes_back() -> None:
    readings = [(SYSTEM.monotonic(), SYSTEM.now_us()) for _ in range(1000)]
    assert readings == sorted(readings)


def test_a_stepped_wall_clock_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SYSTEM.now_us()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert 0 <= SYSTEM.now_us() - before < 60_000_000


def test_both_readings_may_be_given() -> None:
    clock = Clock(monotonic=lambda: 1.5, now_us=lambda: 7)
    assert (clock.monotonic(), clock.now_us()) == (1.5, 7)
