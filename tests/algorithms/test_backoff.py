"""Every way to back off stays within its bounds, and says so at the corners."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.algorithms.backoff import BACKOFFS

DRAWS = st.floats(0, 1, exclude_max=True)
REPEATS = st.integers(0, 5_000)


@pytest.mark.parametrize("kind", sorted(BACKOFFS))
@given(repeat=REPEATS, draw=DRAWS, previous_s=st.floats(0.1, 10.0))
def test_a_delay_is_never_negative_and_never_above_the_bound(
    kind: str, repeat: int, draw: float, previous_s: float
) -> None:
    assert 0 <= BACKOFFS[kind](repeat, previous_s, 0.1, 10.0, draw) <= 10.0


def test_exponential_doubles_until_the_bound() -> None:
    delays = [BACKOFFS["exponential"](repeat, 0.0, 0.1, 1.0, 0.5) for repeat in range(6)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_full_jitter_spreads_over_the_whole_bound() -> None:
    assert BACKOFFS["full_jitter"](2, 0.0, 0.1, 10.0, 0.0) == 0
    assert BACKOFFS["full_jitter"](2, 0.0, 0.1, 10.0, 0.5) == pytest.approx(0.2)
    assert BACKOFFS["full_jitter"](40, 0.0, 0.1, 10.0, 0.5) == pytest.approx(5.0)


@given(draw=DRAWS, previous_s=st.floats(0.1, 10.0))
def test_decorrelated_lies_between_the_base_and_three_times_the_last(draw: float, previous_s: float) -> None:
    delay_s = BACKOFFS["decorrelated"](3, previous_s, 0.1, 10.0, draw)
    assert 0.1 <= delay_s <= max(0.1, min(10.0, 3 * previous_s))


def test_decorrelated_starts_from_the_base() -> None:
    assert BACKOFFS["decorrelated"](0, 99.0, 0.1, 10.0, 0.5) == pytest.approx(0.2)


def test_constant_is_constant() -> None:
    assert {BACKOFFS["constant"](repeat, 7.0, 0.1, 10.0, 0.9) for repeat in range(9)} == {0.1}
