from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.core.fence import Fence, next_fence
from sdpatterns.errors import StaleFence

microseconds = st.integers(min_value=0, max_value=2**53)


@given(microseconds, microseconds)
def test_a_fence_grows_whatever_the_clock_says(last: int, now_us: int) -> None:
    assert next_fence(last, now_us) > last
    assert next_fence(last, now_us) >= now_us


@given(st.lists(microseconds, min_size=1), st.integers(min_value=0, max_value=50))
def test_a_fence_grows_though_an_idle_cell_was_dropped(steps: list[int], dropped_at: int) -> None:
    # Time of the store only grows; the cell may be dropped between two claims at different times.
    now_us, last, seen = 1, 0, 0
    for place, step in enumerate(steps):
        now_us += step + 1
        fence = next_fence(0 if place == dropped_at and last < now_us else last, now_us)
        assert fence > seen
        last = seen = fence


def test_a_resource_refuses_a_late_writer() -> None:
    resource = Fence("ledger")
    resource.check(5)
    resource.check(5)
    resource.check(9)
    with pytest.raises(StaleFence) as caught:
        resource.check(8)
    assert (caught.value.resource, caught.value.presented, caught.value.seen) == ("ledger", 8, 9)
    resource.check(9)
