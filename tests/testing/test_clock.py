from __future__ import annotations

import time

import pytest
import trio

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core import context
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import current
from sdpatterns.ports.states import Space
from sdpatterns.testing.clock import START_US, VirtualClock
from sdpatterns.testing.contracts.steps import Time
from sdpatterns.testing.trio import trio_clock


def test_it_stands_still_until_it_is_moved() -> None:
    with VirtualClock() as clock:
        first = (SYSTEM.monotonic(), SYSTEM.now_us())
        time.sleep(0.002)
        assert (SYSTEM.monotonic(), SYSTEM.now_us()) == first
        clock.advance(1.5)
        assert (SYSTEM.monotonic(), SYSTEM.now_us()) == (first[0] + 1.5, first[1] + 1_500_000)


def test_the_old_clock_comes_back() -> None:
    before = (SYSTEM.monotonic, SYSTEM.now_us)
    with VirtualClock():
        assert (SYSTEM.monotonic, SYSTEM.now_us) != before
    assert (SYSTEM.monotonic, SYSTEM.now_us) == before
    assert VirtualClock.installed() is None


def test_it_starts_at_a_round_number_and_counts_whole_microseconds() -> None:
    clock = VirtualClock()
    assert clock.now_us() == START_US
    clock.advance(0.0000001)
    assert clock.now_us() == START_US + 1
    for _ in range(1000):
        clock.advance(0.1)
    assert clock.now_us() == START_US + 1 + 100_000_000


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("-inf"), float("inf")])
def test_it_never_goes_back(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        VirtualClock().advance(seconds)


def test_one_at_a_time() -> None:
    with VirtualClock(), pytest.raises(RuntimeError, match="already"):
        VirtualClock().install()
    with pytest.raises(RuntimeError, match="not installed"):
        VirtualClock().uninstall()


def test_what_was_built_before_reads_it_too() -> None:
    cells = MemoryBackend().states.cells(Space("built", IntegersCodec()))
    with VirtualClock() as clock, context.with_deadline(10.0):
        assert cells.transact_now("a", Time()) == START_US
        clock.advance(4.0)
        assert cells.transact_now("a", Time()) == START_US + 4_000_000
        assert context.deadline_left_s() == 6.0


def test_trio_sleeps_a_day_at_once_and_sdpatterns_reads_the_same_time() -> None:
    async def main() -> tuple[int, bool]:
        before = SYSTEM.now_us()
        await current().sleep(86_400.0)
        rung = await current().waiter().wait(3600.0)
        return SYSTEM.now_us() - before, rung

    started = time.monotonic()
    with trio_clock() as clock:
        assert trio.run(main, clock=clock) == (90_000_000_000, False)
    assert time.monotonic() - started < 600


def test_a_clock_that_follows_another_is_not_moved_by_hand() -> None:
    with trio_clock():
        found = VirtualClock.installed()
        assert found is not None
        with pytest.raises(RuntimeError, match="follows"):
            found.advance(1.0)
