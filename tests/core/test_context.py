from __future__ import annotations

import asyncio
import contextvars
import math
from typing import Any

import pytest

from sdpatterns.core.context import Trace, correlation_id, deadline_left_s, trace, with_deadline
from sdpatterns.testing.clock import VirtualClock


def test_without_a_bound_there_is_none() -> None:
    assert deadline_left_s() is None


def test_a_deadline_counts_down_and_may_be_over(virtual_clock: VirtualClock) -> None:
    with with_deadline(5.0) as left_s:
        assert left_s == 5.0
        virtual_clock.advance(3.0)
        assert deadline_left_s() == 2.0
        virtual_clock.advance(3.0)
        assert deadline_left_s() == -1.0
    assert deadline_left_s() is None


@pytest.mark.parametrize("timeout_s", [math.nan, math.inf, "5", None])
def test_what_is_no_finite_number_is_refused(timeout_s: Any) -> None:
    with pytest.raises(ValueError, match="timeout_s must be a finite number of seconds"), with_deadline(timeout_s):
        pass
    assert deadline_left_s() is None


def test_inside_another_the_earlier_one_counts(virtual_clock: VirtualClock) -> None:
    with with_deadline(5.0):
        virtual_clock.advance(1.0)
        with with_deadline(60.0) as left_s:
            assert left_s == 4.0
        with with_deadline(2.0) as left_s:
            assert left_s == 2.0
        assert deadline_left_s() == 4.0


def test_it_is_restored_when_the_block_raises(virtual_clock: VirtualClock) -> None:
    with with_deadline(5.0):
        with pytest.raises(KeyError), with_deadline(1.0):
            raise KeyError
        assert deadline_left_s() == 5.0


def test_tasks_inherit_it_and_keep_theirs_to_themselves(virtual_clock: VirtualClock) -> None:
    async def inner() -> float | None:
        with with_deadline(1.0):
            await asyncio.sleep(0)
            return deadline_left_s()

    async def main() -> tuple[float | None, float | None]:
        with with_deadline(5.0):
            return await asyncio.create_task(inner()), deadline_left_s()

    assert asyncio.run(main()) == (1.0, 5.0)


def test_trace_and_correlation_id_are_nobodys_at_first() -> None:
    assert trace.get() is None
    assert correlation_id.get() is None

    def work() -> None:
        trace.set(Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"))
        correlation_id.set("order-1")

    contextvars.copy_context().run(work)
    assert trace.get() is None
    assert Trace("a", "b").sampled
