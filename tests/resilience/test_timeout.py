"""Timeout: who is stopped, when, and whose cancellation it was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from sdpatterns import DeadlineExceeded, Timeout, with_deadline
from sdpatterns.blocking import blocking
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import deadline_at, deadline_left_s
from tests.loops import on_virtual_asyncio
from tests.threads import in_threads

pytestmark = pytest.mark.anyio

Runner = Callable[[Timeout, Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def protected(timeout: Timeout, work: Callable[[], Awaitable[Any]]) -> Any:
    return await timeout.call(work)


async def guarded(timeout: Timeout, work: Callable[[], Awaitable[Any]]) -> Any:
    async with timeout.guard():
        return await work()


@pytest.fixture(params=[protected, guarded], ids=["protected", "guarded"])
def run(request: pytest.FixtureRequest) -> Runner:
    """Both ways through a timeout: the closure with the shared timer, and the guard with its own."""
    return request.param  # type: ignore[no-any-return]


def requests() -> int:
    """How many cancellations of this task are asked for and not taken back."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    return 0 if task is None else task.cancelling()


async def test_work_in_time_is_left_alone(run: Runner) -> None:
    async def work() -> str:
        await anyio.sleep(1.0)
        return "done"

    timeout = Timeout(2.0)
    assert await run(timeout, work) == "done"
    await anyio.sleep(5.0)
    assert await run(timeout, work) == "done"


async def test_work_that_takes_too_long_is_stopped_at_the_time(run: Runner) -> None:
    ended_at = 0.0
    started = SYSTEM.monotonic()

    async def work() -> None:
        nonlocal ended_at
        try:
            await anyio.sleep(60)
        finally:
            ended_at = SYSTEM.monotonic()

    with pytest.raises(DeadlineExceeded) as caught:
        await run(Timeout(2.0, name="quotes"), work)
    assert ended_at - started == pytest.approx(2.0)
    assert (caught.value.name, caught.value.timeout_s) == ("quotes", pytest.approx(2.0))
    assert requests() == 0
    await anyio.sleep(0.1)


async def test_the_works_own_exception_arrives_bare(run: Runner) -> None:
    error = KeyError("own")

    async def work() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        await run(Timeout(2.0), work)
    assert caught.value is error
    assert deadline_at.get() is None


async def test_the_work_knows_how_much_time_is_left(run: Runner) -> None:
    async def work() -> float | None:
        await anyio.sleep(0.5)
        return deadline_left_s()

    assert await run(Timeout(2.0), work) == pytest.approx(1.5)
    assert deadline_at.get() is None


async def test_an_inherited_deadline_that_is_earlier_is_enforced(run: Runner) -> None:
    started = SYSTEM.monotonic()
    with with_deadline(1.0), pytest.raises(DeadlineExceeded) as caught:
        await run(Timeout(2.0), lambda: anyio.sleep(60))
    assert SYSTEM.monotonic() - started == pytest.approx(1.0)
    assert caught.value.timeout_s == pytest.approx(1.0)


async def test_an_inherited_deadline_that_is_later_is_put_back(run: Runner) -> None:
    with with_deadline(10.0):
        with pytest.raises(DeadlineExceeded):
            await run(Timeout(2.0), lambda: anyio.sleep(60))
        assert deadline_left_s() == pytest.approx(8.0)


async def test_work_with_nothing_left_does_not_begin(run: Runner) -> None:
    begun = False

    async def work() -> None:
        nonlocal begun
        begun = True

    with with_deadline(1.0):
        await anyio.sleep(1.5)
        with pytest.raises(DeadlineExceeded) as caught:
            await run(Timeout(2.0), work)
    assert not begun
    assert caught.value.timeout_s == 0.0


async def test_the_inner_of_two_strikes_first_and_the_outer_goes_on(run: Runner) -> None:
    async def work() -> str:
        with pytest.raises(DeadlineExceeded, match="inner"):
            await run(Timeout(1.0, name="inner"), lambda: anyio.sleep(60))
        await anyio.sleep(0.5)
        return "recovered"

    assert await run(Timeout(2.0, name="outer"), work) == "recovered"


async def test_the_outer_of_two_strikes_through_the_inner(run: Runner) -> None:
    """The inner one cannot tell; what counts is that the outer time is never exceeded."""
    started = SYSTEM.monotonic()
    with pytest.raises(DeadlineExceeded):
        await run(Timeout(1.0), lambda: run(Timeout(2.0), lambda: anyio.sleep(60)))
    assert SYSTEM.monotonic() - started == pytest.approx(1.0)
    assert requests() == 0


async def test_cleaning_up_may_take_longer_than_the_time_and_a_second_strike_is_survived(run: Runner) -> None:
    async def slow_to_leave() -> None:
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)

    with pytest.raises(DeadlineExceeded):
        await run(Timeout(2.0), lambda: run(Timeout(1.0), slow_to_leave))
    assert requests() == 0
    await anyio.sleep(0.1)


async def test_a_cancellation_from_outside_is_passed_on(run: Runner) -> None:
    with anyio.move_on_after(1.0) as scope:
        await run(Timeout(2.0), lambda: anyio.sleep(60))
    assert scope.cancelled_caught
    assert requests() == 0
    assert deadline_at.get() is None
    await anyio.sleep(5)


async def test_many_calls_run_out_each_in_its_turn(run: Runner) -> None:
    timeout, started, lasted = Timeout(2.0), SYSTEM.monotonic(), {}

    async def one(number: int) -> None:
        await anyio.sleep(number * 0.1)
        begun = SYSTEM.monotonic()
        try:
            await run(timeout, lambda: anyio.sleep(60 if number % 3 else 0.01))
        except DeadlineExceeded:
            lasted[number] = SYSTEM.monotonic() - begun

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(one, number)
    assert sorted(lasted) == [number for number in range(30) if number % 3]
    assert all(seconds == pytest.approx(2.0, abs=1e-3) for seconds in lasted.values())
    assert SYSTEM.monotonic() - started == pytest.approx(2.9 + 2.0, abs=1e-3)


async def test_the_same_object_may_be_nested_in_itself(run: Runner) -> None:
    timeout = Timeout(1.0)
    with pytest.raises(DeadlineExceeded):
        await run(timeout, lambda: run(timeout, lambda: anyio.sleep(60)))
    assert requests() == 0
    await run(timeout, lambda: anyio.sleep(0.5))


# -- asyncio's own corners ---------------------------------------------------------------------


@on_virtual_asyncio
async def test_a_caller_that_cancels_in_the_same_turn_gets_its_cancellation(run: Runner) -> None:
    for first in ("caller", "timeout"):
        loop, timeout = asyncio.get_running_loop(), Timeout(1.0)
        if first == "timeout":
            task = asyncio.ensure_future(run(timeout, lambda: asyncio.sleep(60)))
            await asyncio.sleep(0)
            loop.call_later(1.0, task.cancel)
        else:
            task = asyncio.ensure_future(_after_a_turn(run, timeout))
            loop.call_later(1.0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


async def _after_a_turn(run: Runner, timeout: Timeout) -> None:
    await asyncio.sleep(0)
    await run(timeout, lambda: asyncio.sleep(60))


@on_virtual_asyncio
async def test_work_that_swallows_the_cancellation_keeps_its_late_result(run: Runner) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "late"

    assert await run(Timeout(2.0), stubborn) == "late"
    assert requests() == 0
    await asyncio.sleep(0)


@on_virtual_asyncio
async def test_work_that_answers_the_cancellation_with_its_own_error_is_heard(run: Runner) -> None:
    async def translating() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError("cut") from None

    with pytest.raises(ConnectionError, match="cut"):
        await run(Timeout(2.0), translating)
    assert requests() == 0


@on_virtual_asyncio
async def test_a_strike_in_the_turn_in_which_the_work_ends_leaves_nothing_behind(run: Runner) -> None:
    loop = asyncio.get_running_loop()
    for offset_s in (-1e-6, 0.0, 1e-6):
        answer: asyncio.Future[str] = loop.create_future()
        loop.call_later(1.0 + offset_s, lambda answer=answer: answer.done() or answer.set_result("just in time"))

        async def work(answer: asyncio.Future[str] = answer) -> str:
            return await answer

        try:
            result = await run(Timeout(1.0), work)
        except DeadlineExceeded:
            result = "just in time"
        assert result == "just in time"
        assert requests() == 0
        await asyncio.sleep(0)
        await asyncio.sleep(2)


@on_virtual_asyncio
async def test_it_leaves_an_earlier_request_for_cancellation_as_it_was(run: Runner) -> None:
    """Cleaning up after a cancellation may itself be bounded in time."""
    seen = []

    async def cleaning() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            try:
                await run(Timeout(1.0), lambda: asyncio.sleep(60))
            except DeadlineExceeded:
                seen.append(requests())

    task = asyncio.ensure_future(cleaning())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [1]


@on_virtual_asyncio
async def test_a_task_group_inside_is_stopped_whole(run: Runner) -> None:
    ended = []

    async def child(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(child(number))

    with pytest.raises(DeadlineExceeded):
        await run(Timeout(1.0), work)
    assert sorted(ended) == [0, 1, 2]


@on_virtual_asyncio
async def test_a_task_group_outside_gets_the_failure_of_its_child() -> None:
    async def child() -> None:
        await Timeout(1.0).call(asyncio.sleep, 60)

    async def family() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(asyncio.sleep(60))

    with pytest.raises(ExceptionGroup) as caught:
        await family()
    assert [type(error) for error in caught.value.exceptions] == [DeadlineExceeded]


@on_virtual_asyncio
async def test_calls_of_one_length_share_one_timer() -> None:
    timeout = Timeout(60.0)
    nap = timeout.protect(asyncio.sleep)
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(nap(1.0))
        await asyncio.sleep(0.5)
        timers = [handle for handle in asyncio.get_running_loop()._scheduled if "Expiries" in repr(handle)]  # type: ignore[attr-defined]
        assert len(timers) == 1
    assert timeout._expiries.pending == {}


@on_virtual_asyncio
async def test_calls_a_microsecond_apart_do_not_keep_the_loop_busy() -> None:
    """A loop calls a timer early by the resolution of its clock; setting it again would never end."""
    nap = Timeout(1.0).protect(asyncio.sleep)
    for turn in range(100):
        naps = []
        for apart in range(4):
            naps.append(asyncio.ensure_future(nap(60)))
            await asyncio.sleep(apart * 1e-6)
        outcomes = await asyncio.gather(*naps, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 4
        await asyncio.sleep(0.137 * turn)


def test_one_object_serves_one_loop_after_another() -> None:
    timeout = Timeout(0.005)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            asyncio.run(timeout.call(asyncio.sleep, 60))
        assert asyncio.run(timeout.call(asyncio.sleep, 0, "fine")) == "fine"
    assert len(timeout._by_loop) <= 2


def test_one_object_serves_loops_in_eight_threads_at_once() -> None:
    timeout = Timeout(0.02)

    async def main() -> None:
        for _ in range(20):
            assert await timeout.call(asyncio.sleep, 0, "fine") == "fine"
        with pytest.raises(DeadlineExceeded):
            await timeout.call(asyncio.sleep, 60)

    in_threads(lambda: asyncio.run(main()))


# -- without a loop ----------------------------------------------------------------------------


def test_a_program_without_a_loop_gets_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="cannot be interrupted"):
        blocking(Timeout(1.0))


def test_a_call_without_a_loop_is_refused_before_the_work_begins() -> None:
    async def work() -> None:
        raise AssertionError("begun")

    with pytest.raises(TypeError, match="cannot be interrupted"):
        Timeout(1.0).call(work).send(None)
    assert deadline_at.get() is None


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), "1", None, True])
def test_a_bad_time_is_named(timeout_s: Any) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        Timeout(timeout_s)


def test_a_nameless_timeout_takes_the_name_it_is_given_and_a_named_one_keeps_its_own() -> None:
    timeout = Timeout(2.0)
    assert (timeout.name, timeout.named("quotes").name, timeout.named("quotes").timeout_s) == ("timeout", "quotes", 2.0)
    own = Timeout(2.0, name="own")
    assert own.named("quotes") is own
    assert own.describe() == "Timeout: 2 s"
