from __future__ import annotations

import asyncio
import contextvars
import math
from typing import Any

import pytest

from sdpatterns.core.context import (
    Trace,
    Until,
    correlation_id,
    deadline_at,
    deadline_left_s,
    trace,
    with_deadline,
    without_deadline,
)
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


def test_a_deadline_may_be_left_in_another_context_than_it_was_entered_in() -> None:
    def dependency() -> Any:
        with with_deadline(5.0):
            yield deadline_left_s()

    entered = dependency()
    contextvars.copy_context().run(next, entered)
    with with_deadline(1.0):
        contextvars.copy_context().run(entered.close)
        entered = dependency()
        contextvars.copy_context().run(next, entered)
        entered.close()
        left_s = deadline_left_s()
    assert left_s is not None
    assert 0 < left_s <= 1.0
    assert deadline_left_s() is None


async def _numbers() -> Any:
    with with_deadline(5.0):
        yield 1
        yield 2


def test_an_asynchronous_generator_with_a_deadline_is_closed_by_another_task() -> None:
    async def main() -> float | None:
        numbers = _numbers()
        await asyncio.create_task(anext(numbers))
        await asyncio.create_task(numbers.aclose())
        return deadline_left_s()

    assert asyncio.run(main()) is None


def test_a_generator_that_was_left_open_does_not_leave_its_deadline_behind() -> None:
    async def main() -> float | None:
        with with_deadline(60.0):
            numbers = _numbers()
            await anext(numbers)
        left_s = deadline_left_s()
        await numbers.aclose()
        return left_s

    assert asyncio.run(main()) is None


def test_a_fixture_like_coroutine_pair_enters_and_leaves_in_two_tasks() -> None:
    async def main() -> float | None:
        bound = with_deadline(5.0)
        await asyncio.create_task(_entered(bound))
        bound.__exit__(None, None, None)
        return deadline_left_s()

    assert asyncio.run(main()) is None


async def _entered(bound: Any) -> None:
    bound.__enter__()


def test_work_without_a_deadline_has_none_and_may_set_one(virtual_clock: VirtualClock) -> None:
    async def left_s() -> float | None:
        return deadline_left_s()

    async def main() -> list[float | None]:
        with with_deadline(1.0):
            with without_deadline():
                task = asyncio.create_task(left_s())
                found = [deadline_left_s()]
                with with_deadline(9.0):
                    found.append(deadline_left_s())
            return [*found, await task, deadline_left_s()]

    assert asyncio.run(main()) == [None, 9.0, None, 1.0]


def test_a_deadline_that_ended_does_not_bind_a_copy_of_the_context(virtual_clock: VirtualClock) -> None:
    async def main() -> list[float | None]:
        until = Until(virtual_clock.monotonic() + 1.0)
        deadline_at.set(until)
        told = asyncio.Event()

        async def work() -> float | None:
            await told.wait()
            return deadline_left_s()

        task = asyncio.create_task(work())
        until.end()
        told.set()
        with with_deadline(5.0):
            return [await task, deadline_left_s()]

    assert asyncio.run(main()) == [None, 5.0]


def test_deadlines_inside_tasks_inside_deadlines_keep_no_chain(virtual_clock: VirtualClock) -> None:
    async def spawned(times: int) -> int:
        with with_deadline(5.0 - 0.01 * times):
            task = asyncio.create_task(later(times - 1)) if times else None
        return await task if task else len(list(_chain()))

    async def later(times: int) -> int:
        await asyncio.sleep(0)
        return await spawned(times)

    assert asyncio.run(spawned(20)) <= 1


def _chain() -> Any:
    found = deadline_at.get()
    while isinstance(found, Until):
        yield found
        found = found.before
