"""Work beside a block: it ends with the block, drains first, and its failure arrives bare."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import pytest

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import Waiter, current, finish
from sdpatterns.core.service import Health, Service
from tests.loops import each_virtual_loop, on_virtual_asyncio

anyio_backend = each_virtual_loop


class Worker(Service):
    """Finishes one piece of work every ten seconds, and a last one when it is told to stop."""

    def __init__(self, *, drain_s: float = 30.0, fails_at_s: float = 1e9, ends_at_s: float = 1e9) -> None:
        super().__init__("worker", drain_s=drain_s)
        self.done = 0
        self.was_cancelled = False
        self._fails_at_s = fails_at_s
        self._ends_at_s = ends_at_s

    async def work(self, stop: Waiter, /) -> None:
        began_s = SYSTEM.monotonic()
        try:
            while SYSTEM.monotonic() - began_s < self._ends_at_s:
                if await stop.wait(0.0):
                    return
                await current().sleep(10.0)
                self.done += 1
                if SYSTEM.monotonic() - began_s >= self._fails_at_s:
                    {}["work"]
        except BaseException as error:
            self.was_cancelled = not isinstance(error, Exception)
            raise


def since(began_s: float) -> float:
    return round(SYSTEM.monotonic() - began_s, 3)


@pytest.mark.anyio
async def test_a_service_finishes_what_it_has_begun_at_the_end_of_its_block() -> None:
    worker, began_s = Worker(), SYSTEM.monotonic()
    assert worker.health == Health("new")
    async with worker:
        assert worker.health.is_ready
        await anyio.sleep(25.0)
    assert (worker.done, since(began_s), worker.health) == (3, 30.0, Health("ended"))
    async with worker:  # it may be used again
        await anyio.sleep(5.0)
    assert worker.done == 4


@pytest.mark.anyio
async def test_a_service_that_does_not_finish_in_time_is_cancelled() -> None:
    worker, began_s = Worker(drain_s=2.0), SYSTEM.monotonic()
    async with worker:
        await anyio.sleep(5.0)
    assert (worker.done, worker.was_cancelled, since(began_s)) == (0, True, 7.0)
    assert worker.health.state == "ended"


@pytest.mark.anyio
async def test_a_block_that_is_cancelled_lets_its_service_finish() -> None:
    worker, began_s = Worker(), SYSTEM.monotonic()
    with anyio.move_on_after(15.0) as scope:
        async with worker:
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert (worker.done, worker.was_cancelled, since(began_s)) == (2, False, 20.0)


@pytest.mark.anyio
async def test_work_that_fails_ends_the_block_and_arrives_bare() -> None:
    worker, began_s = Worker(fails_at_s=20.0), SYSTEM.monotonic()
    with pytest.raises(KeyError, match="work"):
        async with worker:
            await anyio.sleep_forever()
    assert since(began_s) == 20.0
    assert worker.health.state == "failed"
    assert isinstance(worker.health.error, KeyError)


@pytest.mark.anyio
async def test_an_error_of_the_block_arrives_bare_after_the_drain() -> None:
    worker, mine, began_s = Worker(), ValueError("mine"), SYSTEM.monotonic()

    async def block() -> None:
        async with worker:
            await anyio.sleep(5.0)
            raise mine

    with pytest.raises(ValueError, match="mine") as caught:
        await block()
    assert caught.value is mine
    assert (worker.done, since(began_s)) == (1, 10.0)


@pytest.mark.anyio
async def test_run_ends_when_it_is_stopped_or_has_nothing_left_to_do() -> None:
    worker = Worker()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        await anyio.sleep(12.0)
        with pytest.raises(RuntimeError, match="runs already"):
            await worker.run()
        worker.stop()
        assert worker.health == Health("draining")
    assert worker.done == 2
    short = Worker(ends_at_s=20.0)
    await short.run()
    assert (short.done, short.health) == (2, Health("ended"))


@pytest.mark.anyio
async def test_a_group_ends_with_the_first_failure_and_waits_for_the_others() -> None:
    ended: list[str] = []

    async def fails() -> None:
        await anyio.sleep(5.0)
        raise KeyError("first")

    async def lasts() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cleaned up")

    async def block(*works: Any) -> None:
        async with current().group() as group:
            for work in works:
                group.start(work)

    with pytest.raises(KeyError, match="first"):
        await block(lasts, fails)
    assert ended == ["cleaned up"]
    with anyio.move_on_after(1.0) as scope:  # a cancellation of the block is one of all
        await block(lasts)
    assert scope.cancelled_caught
    assert ended == ["cleaned up"] * 2
    async with current().group() as group:
        group.start(lasts)
        await anyio.sleep(1.0)
        group.cancel()
    assert ended == ["cleaned up"] * 3


@on_virtual_asyncio
async def test_a_caller_cancelled_while_its_group_fails_does_not_go_on(anyio_backend: object) -> None:
    """The request comes after the failure, and before the last task of the group has ended."""
    failures = 0

    async def fails() -> None:
        await asyncio.sleep(1.0)
        raise KeyError("work")

    async def ends_late() -> None:
        try:
            await asyncio.sleep(60.0)
        finally:
            await asyncio.sleep(2.0)

    async def goes_on() -> None:
        nonlocal failures
        while failures < 5:
            try:
                async with current().group() as group:
                    group.start(ends_late)
                    group.start(fails)
            except KeyError:
                failures += 1

    caller = asyncio.ensure_future(goes_on())
    await asyncio.sleep(2.0)
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    assert failures == 1


@on_virtual_asyncio
@pytest.mark.parametrize("block_s", [0.0, 60.0])
async def test_a_group_that_failed_leaves_no_request_to_cancel(anyio_backend: object, block_s: float) -> None:
    """Else a time limit around it could not tell its own request from that one."""

    async def fails() -> None:
        await asyncio.sleep(1.0)
        raise KeyError("work")

    async def block() -> None:
        async with current().group() as group:
            group.start(fails)
            await asyncio.sleep(block_s)

    async def limited(task: asyncio.Task[Any]) -> None:
        async with asyncio.timeout(30.0):
            with pytest.raises(KeyError):
                await block()
            assert task.cancelling() == 0
            await asyncio.sleep(60.0)

    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(TimeoutError):
        await limited(task)


def test_a_service_without_a_loop_is_a_thread() -> None:
    began, threads = threading.Event(), []

    class InAThread(Service):
        async def work(self, stop: Waiter, /) -> None:
            threads.append(threading.current_thread())
            began.set()
            assert await stop.wait(60.0)
            raise KeyError("work")

    service = InAThread("thread")

    async def play() -> None:
        async with service:
            assert began.wait(60.0)
            assert service.health.is_ready

    with pytest.raises(KeyError, match="work"):
        finish(play())
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()
    assert service.health.state == "failed"


def test_a_drain_that_is_out_of_range_is_refused() -> None:
    for drain_s in (-1.0, float("nan"), 1e9):
        with pytest.raises(ValueError, match="drain_s"):
            Worker(drain_s=drain_s)
