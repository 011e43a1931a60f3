"""Whose clock a store goes by."""

from __future__ import annotations

import math

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.runtime import ASYNCIO
from sdpatterns.ports.engine.store import VersionedStates
from sdpatterns.ports.timekeeping import SERVER, Skewed, StoreClock


def test_clients_of_a_server_with_a_clock_do_not_disagree() -> None:
    assert SERVER.by_us == 0
    assert MemoryBackend().states.clock is SERVER


def test_clients_with_clocks_of_their_own_disagree_by_the_bound() -> None:
    assert Skewed(0.5).by_us == 500_000
    assert Skewed(1).by_us == 1_000_000


def test_a_bound_below_a_microsecond_is_rounded_up_because_the_clocks_may_differ() -> None:
    assert Skewed(1e-9).by_us == 1


@pytest.mark.parametrize("by_s", [0, -1.0, math.inf, math.nan, "1", True])
def test_a_bound_is_a_time_above_0(by_s: object) -> None:
    with pytest.raises(ValueError, match="by_s must be a finite number of seconds, above 0"):
        Skewed(by_s)  # type: ignore[arg-type]


def test_clocks_are_values() -> None:
    assert Skewed(0.5) == Skewed(0.5)
    assert Skewed(0.5) != Skewed(0.6)
    assert len({Skewed(0.5), Skewed(0.5), SERVER, StoreClock()}) == 3
    assert [repr(clock) for clock in (SERVER, Skewed(0.5))] == ["SERVER", "Skewed(0.5)"]


def test_a_store_on_a_versioned_map_says_what_its_map_gives() -> None:
    store = VersionedStates(None, runtime=ASYNCIO, clock=Skewed(2.0), shown="mine")  # type: ignore[arg-type]
    assert store.clock == Skewed(2.0)
