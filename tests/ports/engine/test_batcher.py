"""One piece of work in flight, the rest gather: among tasks and among threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from sdpatterns.core.context import deadline_left_s, with_deadline
from sdpatterns.core.runtime import finish
from sdpatterns.ports.engine import batcher
from sdpatterns.ports.engine.batcher import TaskBatcher, ThreadBatcher

pytestmark = pytest.mark.anyio


class Work:
    """Doubles numbers, batch by batch, and fails at a negative one."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        self.at_once += 1
        assert self.at_once == 1
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        if min(items) < 0:
            raise ZeroDivisionError(min(items))
        return [2 * item for item in items]


async def test_a_caller_alone_goes_straight() -> None:
    work = Work()
    together = TaskBatcher(work, at_most=4)
    assert [await together.run(item) for item in range(3)] == [0, 2, 4]
    assert work.batches == [[0], [1], [2]]
    assert together.idle
    assert len(asyncio.all_tasks()) <= 2


async def test_callers_meanwhile_go_together_in_order_and_within_bounds() -> None:
    work = Work()
    together = TaskBatcher(work, at_most=4)
    assert await asyncio.gather(*(together.run(item) for item in range(10))) == [2 * item for item in range(10)]
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]
    await asyncio.sleep(0.01)
    assert together.idle


async def test_an_error_reaches_those_of_its_batch_only() -> None:
    work = Work()
    together = TaskBatcher(work, at_most=3)
    ends = await asyncio.gather(*(together.run(item) for item in (0, 1, -1, 2, 3, -4)), return_exceptions=True)
    assert [end if isinstance(end, int) else "error" for end in ends] == [
        0,
        "error",
        "error",
        "error",
        "error",
        "error",
    ]
    assert await together.run(5) == 10
    with pytest.raises(ZeroDivisionError):
        await together.run(-1)
    assert await together.run(6) == 12


async def test_a_cancelled_first_caller_leaves_the_lead_to_the_next() -> None:
    work = Work()
    work.gate.clear()
    together = TaskBatcher(work, at_most=4)
    first, second, third = (asyncio.ensure_future(together.run(item)) for item in (1, 2, 3))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert await third == 6
    assert work.batches == [[1], [3]]


async def test_waiting_callers_are_cancelled_when_the_loop_ends_the_task_that_serves_them() -> None:
    work = Work()
    work.gate.clear()
    together = TaskBatcher(work, at_most=1)
    before = asyncio.all_tasks()
    first, *others = (asyncio.ensure_future(together.run(item)) for item in range(4))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0.01)
    [server] = asyncio.all_tasks() - before - set(others)
    server.cancel()
    ends = await asyncio.gather(*others, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    assert together.idle


def test_threads_go_together_behind_one_that_leads() -> None:
    batches: list[int] = []
    at_once = threading.Semaphore(1)

    async def work(items: Sequence[int]) -> Sequence[int]:
        assert at_once.acquire(blocking=False)
        batches.append(len(items))
        time.sleep(0.001)  # noqa: ASYNC251 - long enough for others to gather
        at_once.release()
        return [2 * item for item in items]

    together = ThreadBatcher(work, at_most=16)
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(lambda item: finish(together.run(item)), range(320))) == [2 * item for item in range(320)]
    assert together.idle
    assert sum(batches) == 320
    assert 1 < max(batches) <= 16


def test_an_error_among_threads_reaches_those_of_its_batch() -> None:
    async def work(items: Sequence[int]) -> Sequence[int]:
        if min(items) < 0:
            raise ZeroDivisionError
        return list(items)

    together = ThreadBatcher(work, at_most=16)
    with pytest.raises(ZeroDivisionError):
        finish(together.run(-1))
    assert finish(together.run(1)) == 1


class Waiting:
    """A batcher of threads with one that leads (item 0, until the gate opens) and others that wait."""

    def __init__(self, *, interrupted: bool) -> None:
        self.interrupted = interrupted
        self.batches: list[list[int]] = []
        self.gate, self.leading = threading.Event(), threading.Event()
        self.batcher: ThreadBatcher[int, int] = ThreadBatcher(self.work, at_most=1)

    async def work(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        self.leading.set()
        assert self.gate.wait(60)
        if self.interrupted and list(items) == [0]:
            raise KeyboardInterrupt
        return list(items)

    def run(self, item: int) -> str:
        try:
            return str(finish(self.batcher.run(item)))
        except BaseException as error:  # noqa: BLE001 - told by its name
            return type(error).__name__

    def wait_for(self, waiting: int) -> None:
        until = time.monotonic() + 60
        while len(self.batcher._waiting) < waiting and time.monotonic() < until:
            time.sleep(0.001)


def test_an_interrupted_leader_hands_the_lead_on() -> None:
    stage = Waiting(interrupted=True)
    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(stage.run, 0)]
        assert stage.leading.wait(60)
        ends += [pool.submit(stage.run, item) for item in (1, 2)]
        stage.wait_for(2)
        stage.gate.set()
        assert [end.result(60) for end in ends] == ["KeyboardInterrupt", "1", "2"]
    assert stage.batcher.idle


@pytest.mark.parametrize("promoted", [True, False])
def test_one_interrupted_while_it_waits_does_not_stop_the_others(
    promoted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Called(threading.Event):
        """Its wait is struck by Ctrl-C, before or after the lead has come to it."""

        def wait(self, timeout: float | None = None) -> bool:
            if promoted:
                super().wait(60)
            raise KeyboardInterrupt

    def turn(item: int) -> object:
        made = original(item)
        if item == 1:
            made.called = Called()
        return made

    original = batcher._Turn
    monkeypatch.setattr(batcher, "_Turn", turn)
    stage = Waiting(interrupted=False)
    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(stage.run, 0)]
        assert stage.leading.wait(60)
        for waiting in (1, 2):
            ends.append(pool.submit(stage.run, waiting))
            stage.wait_for(waiting)
        stage.gate.set()
        assert [end.result(60) for end in ends] == ["0", "KeyboardInterrupt", "2"]
    assert stage.batches == [[0], [2]]
    assert stage.batcher.idle


async def test_a_batch_for_several_has_the_context_of_none_of_them() -> None:
    seen: list[tuple[int, bool]] = []

    async def work(items: Sequence[int]) -> Sequence[int]:
        seen.append((len(items), deadline_left_s() is None))
        await asyncio.sleep(0)
        return items

    async def hurries(item: int) -> int:
        with with_deadline(5.0):
            return await together.run(item)

    for alone in ("straight", "in a task"):
        together = TaskBatcher(work, at_most=8, alone=alone)  # type: ignore[arg-type]
        assert await asyncio.gather(*map(hurries, range(4))) == [0, 1, 2, 3]
    # A caller alone runs its own item itself, unless it is asked not to.
    assert seen == [(1, False), (3, True), (4, True)]


def test_a_batch_for_several_threads_has_the_context_of_none_of_them() -> None:
    stage, seen = Waiting(interrupted=False), []
    gated = stage.work

    async def work(items: Sequence[int]) -> Sequence[int]:
        seen.append((len(items), deadline_left_s() is None))
        return await gated(items)

    stage.batcher = ThreadBatcher(work, at_most=8)

    def hurries(item: int) -> str:
        with with_deadline(60.0):
            return stage.run(item)

    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(hurries, 0)]
        assert stage.leading.wait(60)
        ends += [pool.submit(hurries, item) for item in (1, 2)]
        stage.wait_for(2)
        stage.gate.set()
        assert [end.result(60) for end in ends] == ["0", "1", "2"]
    assert seen == [(1, False), (2, True)]


async def test_a_caller_that_is_cancelled_does_not_cancel_work_that_runs_in_a_task() -> None:
    work = Work()
    work.gate.clear()
    together = TaskBatcher(work, at_most=4, alone="in a task")
    first, second = (asyncio.ensure_future(together.run(item)) for item in (1, 2))
    for _ in range(3):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert await second == 4
    assert work.batches == [[1, 2]]


async def test_those_behind_a_failure_hear_of_it_at_once_or_have_their_turn() -> None:
    for behind, ends_of_the_rest in ((lambda _: KeyError("away"), KeyError), (lambda _: None, int)):
        work = Work()
        together = TaskBatcher(work, at_most=1, behind=behind)
        ends = await asyncio.gather(*(together.run(item) for item in (-1, 1, 2)), return_exceptions=True)
        assert [type(end) for end in ends] == [ZeroDivisionError, ends_of_the_rest, ends_of_the_rest]


def test_threads_behind_a_failure_hear_of_it_at_once_but_those_that_may_wait_on() -> None:
    stage = Waiting(interrupted=False)
    gated = stage.work

    async def work(items: Sequence[int]) -> Sequence[int]:
        results = await gated(items)
        if list(items) == [0]:
            stage.batcher.send_away(lambda item: KeyError("away") if item == 1 else None)
        return results

    stage.batcher = ThreadBatcher(work, at_most=1)
    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(stage.run, 0)]
        assert stage.leading.wait(60)
        for waiting in (1, 2):
            ends.append(pool.submit(stage.run, waiting))
            stage.wait_for(waiting)
        stage.gate.set()
        assert [end.result(60) for end in ends] == ["0", "KeyError", "2"]
    assert stage.batcher.idle


def test_a_thread_whose_deadline_comes_while_it_waits_leaves_the_queue() -> None:
    stage = Waiting(interrupted=False)

    def hurries(item: int) -> str:
        with with_deadline(0.01):
            return stage.run(item)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(stage.run, 0)
        assert stage.leading.wait(10)
        hurried = pool.submit(hurries, 1)
        patient = pool.submit(stage.run, 2)
        try:
            # The one that leads is still at work: who waits behind it hears of the deadline all the same.
            assert hurried.result(30) == "BackendUnavailable"
        finally:
            stage.gate.set()
        assert [first.result(30), patient.result(30)] == ["0", "2"]
    assert stage.batches == [[0], [2]]
    assert stage.batcher.idle


def test_a_thread_whose_item_is_in_a_batch_waits_for_it_past_its_deadline() -> None:
    stage = Waiting(interrupted=False)
    gated, second = stage.work, threading.Event()

    async def work(items: Sequence[int]) -> Sequence[int]:
        if 2 in items:
            second.set()
            assert late.wait(30)
        return await gated(items)

    class Called(threading.Event):
        """The deadline comes when the item is in a batch."""

        def wait(self, timeout: float | None = None) -> bool:
            if timeout is None:
                return super().wait(30)
            assert second.wait(30)
            late.set()
            return False

    late = threading.Event()
    stage.batcher = ThreadBatcher(work, at_most=2)
    turn = batcher._Turn(2)
    turn.called = Called()
    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(stage.run, 0)]
        assert stage.leading.wait(10)
        ends.append(pool.submit(stage.run, 1))
        stage.wait_for(1)
        stage.batcher._waiting.append(turn)

        def hurries() -> str:
            with with_deadline(60.0):
                return str(stage.batcher._together(turn))

        ends.append(pool.submit(hurries))
        stage.gate.set()
        assert [end.result(30) for end in ends] == ["0", "1", "2"]
    assert stage.batches == [[0], [1, 2]]


def odd_ones_fail(items: Sequence[int]) -> Sequence[int | Exception]:
    return [ValueError(item) if item % 2 else 2 * item for item in items]


@pytest.mark.parametrize("alone", ["straight", "in a task"])
async def test_a_result_that_is_an_exception_is_raised_for_its_caller(alone: str) -> None:
    async def work(items: Sequence[int]) -> Sequence[int | Exception]:
        await asyncio.sleep(0)
        return odd_ones_fail(items)

    together: TaskBatcher[int, int] = TaskBatcher(work, at_most=4, alone=alone)  # type: ignore[arg-type]
    ends = await asyncio.gather(*(together.run(item) for item in (1, 2, 3, 4)), return_exceptions=True)
    assert [end if isinstance(end, int) else str(end) for end in ends] == ["1", 4, "3", 8]


def test_a_result_that_is_an_exception_is_raised_for_its_thread() -> None:
    async def work(items: Sequence[int]) -> Sequence[int | Exception]:
        time.sleep(0.02)  # noqa: ASYNC251 - it runs in a thread
        return odd_ones_fail(items)

    together: ThreadBatcher[int, int] = ThreadBatcher(work, at_most=4)

    def run(item: int) -> int | str:
        try:
            return finish(together.run(item))
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(run, (1, 2, 3, 4))) == ["1", 4, "3", 8]


async def test_one_does_what_a_caller_alone_asks_for() -> None:
    work = Work()

    async def one(item: int) -> int:
        await asyncio.sleep(0)
        return 100 + item

    together = TaskBatcher(work, at_most=4, one=one)
    assert await together.run(1) == 101
    assert await asyncio.gather(*(together.run(item) for item in (1, 2, 3))) == [101, 4, 6]
    assert work.batches == [[2, 3]]
