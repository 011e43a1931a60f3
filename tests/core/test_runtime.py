"""The three runtimes keep the same promises: waiting, waking, shielding, standing beside, bounding."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import ASYNCIO, BLOCKING, Waiter, current, finish
from sdpatterns.core.runtime.loop_alarm import alarm_of
from tests.loops import each_virtual_loop, on_virtual_asyncio

pytestmark = pytest.mark.anyio
anyio_backend = each_virtual_loop


async def test_the_runtime_is_that_of_the_caller(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    assert current().name == anyio_backend[0]


def test_a_thread_without_a_loop_blocks() -> None:
    assert current() is BLOCKING


async def test_sleep_takes_its_time_and_is_a_checkpoint_even_for_nothing() -> None:
    started, turns = SYSTEM.monotonic(), []
    await current().sleep(2.0)
    assert SYSTEM.monotonic() - started == pytest.approx(2.0)

    async def neighbour() -> None:
        turns.append("neighbour")

    async with anyio.create_task_group() as group:
        group.start_soon(neighbour)
        await current().sleep(0)
        await current().sleep(0)
        turns.append("me")
    assert turns == ["neighbour", "me"]


# -- the bell ----------------------------------------------------------------------------------


async def test_a_ring_wakes_who_waits() -> None:
    waiter, started = current().waiter(), SYSTEM.monotonic()

    async def ring() -> None:
        await anyio.sleep(1.0)
        waiter.wake()

    async with anyio.create_task_group() as group:
        group.start_soon(ring)
        assert await waiter.wait(5.0) is True
    assert SYSTEM.monotonic() - started == pytest.approx(1.0)


async def test_a_wake_without_a_waiter_is_kept_once() -> None:
    waiter = current().waiter()
    waiter.wake()
    waiter.wake()
    assert await waiter.wait(1.0) is True
    assert await waiter.wait(1.0) is False


async def test_without_a_ring_the_time_is_up() -> None:
    waiter, started = current().waiter(), SYSTEM.monotonic()
    assert await waiter.wait(3.0) is False
    assert SYSTEM.monotonic() - started == pytest.approx(3.0)
    waiter.wake()
    assert await waiter.wait() is True


async def test_a_wait_may_be_cancelled_and_the_bell_still_works() -> None:
    waiter = current().waiter()
    with anyio.move_on_after(1.0) as scope:
        await waiter.wait()
    assert scope.cancelled_caught
    waiter.wake()
    assert await waiter.wait(1.0) is True


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_another_thread_may_ring() -> None:
    waiter = current().waiter()
    thread = threading.Thread(target=waiter.wake)
    thread.start()
    assert await waiter.wait(60.0) is True
    thread.join(60)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_ring_after_the_end_of_the_loop_is_lost_without_a_word(backend: str) -> None:
    async def make() -> Waiter:
        return current().waiter()

    waiter = anyio.run(make, backend=backend)
    waiter.wake()
    assert current() is BLOCKING


def test_a_bell_between_threads() -> None:
    waiter = BLOCKING.waiter()
    assert finish(waiter.wait(0.0)) is False  # type: ignore[arg-type]
    thread = threading.Thread(target=waiter.wake)
    thread.start()
    assert finish(waiter.wait(60.0)) is True  # type: ignore[arg-type]
    thread.join(60)


@on_virtual_asyncio
async def test_a_ring_in_the_turn_in_which_time_is_up_is_kept(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    waiter = current().waiter()
    asyncio.get_running_loop().call_later(1.0, asyncio.get_running_loop().call_soon, waiter.wake)
    rings = [await waiter.wait(1.0), await waiter.wait(0.0)]
    assert sorted(rings) == [False, True]


def test_a_ring_just_after_time_is_up_is_kept_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    waiter = BLOCKING.waiter()
    wait = threading.Event.wait

    def rung_too_late(event: threading.Event, timeout: float | None = None) -> bool:
        rung = wait(event, timeout)
        monkeypatch.undo()
        waiter.wake()
        return rung

    monkeypatch.setattr(threading.Event, "wait", rung_too_late)
    assert finish(waiter.wait(0.0)) is False  # type: ignore[arg-type]
    assert finish(waiter.wait(0.0)) is True  # type: ignore[arg-type]


def test_a_bell_of_a_loop_that_closes_meanwhile_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.new_event_loop()

    async def make() -> Waiter:
        return current().waiter()

    waiter = loop.run_until_complete(make())
    loop.close()
    asked: list[bool] = []
    monkeypatch.setattr(loop, "is_closed", lambda: bool(asked.append(True)))
    waiter.wake()
    assert asked == [True]


# -- the shield --------------------------------------------------------------------------------


async def test_shielded_work_ends_though_its_caller_is_cancelled() -> None:
    done = []

    async def work() -> str:
        await anyio.sleep(2.0)
        done.append(SYSTEM.monotonic())
        return "done"

    assert await current().shield(work, at_most_s=10.0) == "done"
    started = SYSTEM.monotonic()
    with anyio.move_on_after(1.0) as scope:
        await current().shield(work, at_most_s=10.0)
    assert scope.cancelled_caught
    assert done[-1] - started == pytest.approx(2.0)


async def test_the_shield_itself_has_a_bound() -> None:
    started = SYSTEM.monotonic()
    stopped = False

    async def endless() -> None:
        nonlocal stopped
        try:
            await anyio.sleep(3600)
        finally:
            stopped = True

    with anyio.move_on_after(1.0) as scope:
        await current().shield(endless, at_most_s=3.0)
    assert (scope.cancelled_caught, stopped) == (True, True)
    assert SYSTEM.monotonic() - started == pytest.approx(3.0)


async def test_shielded_work_raises_bare() -> None:
    error = KeyError("own")

    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    with pytest.raises(KeyError) as caught:
        await current().shield(fail, at_most_s=3.0)
    assert caught.value is error


async def test_work_beyond_the_bound_of_its_shield_is_a_timeout() -> None:
    with pytest.raises(TimeoutError, match="3 s"):
        await current().shield(lambda: anyio.sleep(3600), at_most_s=3.0)


@on_virtual_asyncio
async def test_cancelled_more_than_once_the_shield_still_holds() -> None:
    done = []

    async def work() -> None:
        await asyncio.sleep(2.0)
        done.append(1)

    task = asyncio.ensure_future(ASYNCIO.shield(work, at_most_s=10.0))
    for _ in range(3):
        await asyncio.sleep(0.1)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]


def test_the_blocking_shield_just_runs_the_work() -> None:
    async def work() -> str:
        return "done"

    assert finish(BLOCKING.shield(work, at_most_s=1.0)) == "done"


# -- a companion -------------------------------------------------------------------------------


async def test_many_companions_begin_each_in_its_time_and_in_its_context() -> None:
    """They share one timer under asyncio."""
    began: dict[int, tuple[float, int]] = {}
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine")
    started_s = SYSTEM.monotonic()

    async def beside(number: int, after_s: float, lasts_s: float) -> None:
        mine.set(number)

        async def companion(stop: Waiter) -> None:
            began[number] = (round(SYSTEM.monotonic() - started_s, 3), mine.get())
            await stop.wait()

        await anyio.sleep(number / 10)
        await current().beside(lambda: anyio.sleep(lasts_s), companion, after_s=after_s)

    async with anyio.create_task_group() as group:
        # The second is due before the first, the third ends in time, and the last begins when all others are over.
        for number, after_s, lasts_s in ((0, 5.0, 9.0), (1, 2.0, 9.0), (2, 3.0, 1.0), (3, 3.0, 9.0), (4, 20.0, 30.0)):
            group.start_soon(beside, number, after_s, lasts_s)
    assert began == {0: (5.0, 0), 1: (2.1, 1), 3: (3.3, 3), 4: (20.4, 4)}


@on_virtual_asyncio
async def test_a_bell_that_raises_keeps_no_other_from_ringing() -> None:
    rung: list[str] = []

    def fails() -> None:
        raise KeyError("bell")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, about: rung.append(type(about["exception"]).__name__))
    alarm = alarm_of(loop)
    alarm.put_on(fails, 1.0)
    alarm.put_on(lambda: rung.append("second"), 1.0)
    alarm.put_on(lambda: rung.append("third"), 2.0)
    gone = alarm.put_on(lambda: rung.append("gone"), 1.5)
    alarm.take_off(gone)
    await asyncio.sleep(3.0)
    assert rung == ["KeyError", "second", "third"]


async def test_a_companion_runs_beside_the_work_and_ends_with_it() -> None:
    beats = []

    async def companion(stop: Waiter) -> None:
        while not await stop.wait(1.0):
            beats.append(SYSTEM.monotonic())

    async def work() -> str:
        await anyio.sleep(3.5)
        return "done"

    assert await current().beside(work, companion) == "done"
    assert len(beats) == 3
    await anyio.sleep(5)
    assert len(beats) == 3


async def test_a_companion_that_is_not_due_yet_never_begins() -> None:
    begun = []

    async def companion(stop: Waiter) -> None:
        begun.append(SYSTEM.monotonic())

    async def fail() -> None:
        raise KeyError("own")

    assert await current().beside(lambda: current().sleep(1.9), companion, after_s=2.0) is None
    with pytest.raises(KeyError, match="own"):
        await current().beside(fail, companion, after_s=2.0)
    await anyio.sleep(5)
    assert begun == []


async def test_a_companion_begins_when_it_is_due_in_the_context_of_the_work() -> None:
    begun, told = [], contextvars.ContextVar("told", default="nothing")

    async def companion(stop: Waiter) -> None:
        begun.append((SYSTEM.monotonic() - started, told.get()))
        assert await stop.wait()

    async def work() -> str:
        await anyio.sleep(5.0)
        return "done"

    started = SYSTEM.monotonic()
    told.set("all")
    assert await current().beside(work, companion, after_s=2.0) == "done"
    assert begun == [(pytest.approx(2.0), "all")]


async def test_a_companion_that_begins_late_and_fails_ends_the_work_too() -> None:
    async def companion(stop: Waiter) -> None:
        raise ConnectionError("lease lost")

    started = SYSTEM.monotonic()
    with pytest.raises(ConnectionError, match="lease lost"):
        await current().beside(lambda: current().sleep(60), companion, after_s=2.0)
    assert SYSTEM.monotonic() - started == pytest.approx(2.0)
    await anyio.lowlevel.checkpoint()


async def test_a_companion_that_fails_ends_the_work_with_its_exception_bare() -> None:
    error, ended = ConnectionError("lease lost"), []

    async def companion(stop: Waiter) -> None:
        await anyio.sleep(1.0)
        raise error

    async def work() -> None:
        try:
            await anyio.sleep(60)
        finally:
            ended.append(SYSTEM.monotonic())

    started = SYSTEM.monotonic()
    with pytest.raises(ConnectionError) as caught:
        await current().beside(work, companion)
    assert caught.value is error
    assert ended[0] - started == pytest.approx(1.0)
    await anyio.lowlevel.checkpoint()


async def test_the_works_own_exception_arrives_bare_and_stops_the_companion() -> None:
    error, cause, stopped = KeyError("own"), OSError(), []

    async def companion(stop: Waiter) -> None:
        try:
            await stop.wait()
        finally:
            stopped.append(1)

    async def work() -> None:
        await anyio.sleep(1.0)
        raise error from cause

    with pytest.raises(KeyError) as caught:
        await current().beside(work, companion)
    assert (caught.value, caught.value.__cause__) == (error, cause)
    assert stopped == [1]


async def test_cancelled_from_outside_both_end() -> None:
    ended = []

    async def companion(stop: Waiter) -> None:
        try:
            await anyio.sleep(60)
        finally:
            ended.append("companion")

    async def work() -> None:
        try:
            await anyio.sleep(60)
        finally:
            ended.append("work")

    with anyio.move_on_after(1.0) as scope:
        await current().beside(work, companion)
    assert scope.cancelled_caught
    assert sorted(ended) == ["companion", "work"]


@on_virtual_asyncio
async def test_a_companion_that_fails_as_the_work_returns_is_heard() -> None:
    turn = asyncio.get_running_loop().create_future()

    async def companion(stop: Waiter) -> None:
        await turn
        raise ConnectionError("lease lost")

    async def work() -> str:
        await turn
        await asyncio.sleep(0)
        return "done"

    asyncio.get_running_loop().call_later(1.0, turn.set_result, None)
    with pytest.raises(ConnectionError, match="lease lost"):
        await current().beside(work, companion)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@on_virtual_asyncio
async def test_work_that_answers_the_loss_with_an_error_of_its_own_is_heard_and_nothing_is_left() -> None:
    async def companion(stop: Waiter) -> None:
        await asyncio.sleep(1.0)
        raise ConnectionError("lease lost")

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise KeyError("own") from None

    with pytest.raises(KeyError, match="own"):
        await current().beside(work, companion)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1)


@on_virtual_asyncio
async def test_while_cleaning_up_after_a_cancellation_a_companion_may_fail_too() -> None:
    """A request for cancellation that was there before is not taken for one that came meanwhile."""
    heard = []

    async def companion(stop: Waiter) -> None:
        await asyncio.sleep(1.0)
        raise ConnectionError("lease lost")

    async def cleaning() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            try:
                await current().beside(lambda: asyncio.sleep(60), companion)
            except ConnectionError as error:
                heard.append(str(error))

    task = asyncio.ensure_future(cleaning())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == ["lease lost"]


def test_without_a_loop_a_companion_has_a_thread_of_its_own() -> None:
    beats: list[int] = []

    async def companion(stop: Waiter) -> None:
        while not await stop.wait(0.001):
            beats.append(threading.get_ident())

    async def work() -> str:
        until = time.monotonic() + 60
        while not beats and time.monotonic() < until:
            time.sleep(0.001)  # noqa: ASYNC251 - there is no loop here
        return "done"

    assert finish(BLOCKING.beside(work, companion)) == "done"
    assert beats[0] != threading.get_ident()


def test_without_a_loop_a_companion_that_fails_is_heard_at_the_end() -> None:
    async def companion(stop: Waiter) -> None:
        raise ConnectionError("lease lost")

    async def work() -> str:
        return "done"

    with pytest.raises(ConnectionError, match="lease lost"):
        finish(BLOCKING.beside(work, companion))


def test_without_a_loop_a_companion_that_is_not_due_yet_costs_no_thread() -> None:
    async def companion(stop: Waiter) -> None:
        begun.append(1)

    async def work() -> set[str]:
        return {thread.name for thread in threading.enumerate()} - before

    begun: list[int] = []
    before = {thread.name for thread in threading.enumerate()}
    for _ in range(100):
        assert finish(BLOCKING.beside(work, companion, after_s=30.0)) <= {"sdpatterns-alarm"}
    assert begun == []


def test_without_a_loop_a_companion_begins_when_it_is_due() -> None:
    begun: list[float] = []
    told = contextvars.ContextVar("told", default="nothing")

    async def companion(stop: Waiter) -> None:
        assert told.get() == "all"
        begun.append(time.monotonic())
        assert await stop.wait(60)

    async def work() -> str:
        until = time.monotonic() + 60
        while not begun and time.monotonic() < until:
            time.sleep(0.001)  # noqa: ASYNC251 - there is no loop here
        return "done"

    told.set("all")
    started = time.monotonic()
    assert finish(BLOCKING.beside(work, companion, after_s=0.02)) == "done"
    assert begun[0] - started >= 0.02


def test_without_a_loop_and_a_thread_to_be_had_the_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    async def companion(stop: Waiter) -> None:
        raise AssertionError("it never begins")

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def work() -> None:
        monkeypatch.setattr(threading.Thread, "start", none_left)
        time.sleep(0.05)  # noqa: ASYNC251 - there is no loop here
        done.append(1)

    with pytest.raises(RuntimeError, match="new thread"):
        finish(BLOCKING.beside(work, companion, after_s=0.01))
    assert done == [1]


# -- the bound ---------------------------------------------------------------------------------


async def test_a_bound_tells_its_own_cancellation_from_others() -> None:
    bound, was_its_own = current().bound(1.0), False
    try:
        await anyio.sleep(60)
    except BaseException as error:  # noqa: BLE001 - asyncio and trio have one each
        was_its_own = bound.end(error)
    assert was_its_own
    bound = current().bound(1.0)
    await anyio.sleep(0.5)
    assert bound.end(None) is False
    await anyio.sleep(5)


@on_virtual_asyncio
async def test_a_callback_of_the_loop_cannot_be_bounded() -> None:
    refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def callback() -> None:
        with pytest.raises(RuntimeError, match="task") as caught:
            ASYNCIO.bound(1.0)
        refused.set_result(str(caught.value))

    asyncio.get_running_loop().call_soon(callback)
    assert "callback" in await refused


def test_a_thread_cannot_be_bounded() -> None:
    with pytest.raises(TypeError, match="cannot be interrupted"):
        BLOCKING.bound(1.0)


# -- finishing ---------------------------------------------------------------------------------


def test_a_coroutine_that_never_suspends_is_finished_by_one_step() -> None:
    async def work() -> int:
        return 7

    assert finish(work()) == 7


def test_a_coroutine_that_suspends_is_closed_and_refused() -> None:
    closed = []

    async def work() -> None:
        try:
            await _suspend()
        finally:
            closed.append(1)

    with pytest.raises(RuntimeError, match="event loop"):
        finish(work())
    assert closed == [1]


class _Suspension:
    def __await__(self) -> Iterator[None]:
        yield


async def _suspend() -> None:
    await _Suspension()


def test_blocking_sleep_really_blocks() -> None:
    started = time.monotonic()
    finish(BLOCKING.sleep(0.01))
    assert time.monotonic() - started >= 0.01


# -- a companion of a block ----------------------------------------------------------------------


async def test_a_companion_of_a_block_runs_until_its_end() -> None:
    beats = []

    async def companion(stop: Waiter) -> None:
        while not await stop.wait(1.0):
            beats.append(SYSTEM.monotonic())

    side = await current().accompany(companion)
    await anyio.sleep(3.5)
    assert await side.end(None) is None
    await anyio.sleep(5)
    assert len(beats) == 3


async def test_a_companion_of_a_block_that_fails_ends_the_block() -> None:
    own = KeyError("own")

    async def companion(stop: Waiter) -> None:
        await current().sleep(1.0)
        raise own

    side = await current().accompany(companion, after_s=1.0)
    error: BaseException | None = None
    try:
        await anyio.sleep(60.0)
    except BaseException as raised:  # noqa: BLE001 - the cancellation that the companion asked for
        error = raised
    assert error is not None
    assert await side.end(error) is own
    await anyio.sleep(1.0)


async def test_what_a_block_raises_comes_before_what_its_companion_raises() -> None:
    async def companion(stop: Waiter) -> None:
        await stop.wait()
        raise KeyError("late")

    side = await current().accompany(companion)
    await anyio.lowlevel.checkpoint()
    own = ValueError("own")
    assert await side.end(own) is own


async def test_a_block_that_is_cancelled_stays_cancelled() -> None:
    async def companion(stop: Waiter) -> None:
        await stop.wait()

    with anyio.move_on_after(1.0) as scope:
        side = await current().accompany(companion)
        try:
            await anyio.sleep(60.0)
        except BaseException as error:  # noqa: BLE001 - the cancellation, raised again
            ended = await side.end(error)
            assert ended is not None
            raise ended from None
    assert scope.cancelled_caught


def test_a_thread_gets_the_failure_of_its_companion_at_the_end_of_the_block() -> None:
    own = KeyError("own")

    async def companion(stop: Waiter) -> None:
        raise own

    side = finish(BLOCKING.accompany(companion))  # type: ignore[arg-type]
    assert finish(side.end(None)) is own  # type: ignore[arg-type]
    side = finish(BLOCKING.accompany(companion, after_s=60.0))  # type: ignore[arg-type]
    assert finish(side.end(None)) is None  # type: ignore[arg-type]
