"""Jobs on every backend that has queues: the same promises, kept by real servers."""

from __future__ import annotations

import os
from typing import Any

import anyio
import pytest

from sdpatterns.messaging.jobs import Jobs, Worker, chain, current_job
from tests.backends.everywhere import each_backend_with_queues, unique

backend = each_backend_with_queues
pytestmark = pytest.mark.anyio

PATIENCE_S = 120.0


@pytest.fixture
def jobs(backend: Any) -> Jobs:
    return Jobs(unique("jobs"), backend=backend)


async def test_a_job_runs_again_until_it_returns_and_its_result_comes_back(jobs: Jobs) -> None:
    @jobs.job(attempts_max=3, base_s=0, max_s=0, keep_result_s=600)
    async def third_time(number: int) -> tuple[int, int]:
        if current_job().attempt < 3:
            raise ConnectionError("reset")
        return number, current_job().attempt

    async with Worker(jobs):
        handles = [await third_time.enqueue(number) for number in range(20)]
        assert [await handle.result(PATIENCE_S) for handle in handles] == [(number, 3) for number in range(20)]
    depth = await jobs.queue.depth()
    assert (depth.due, depth.waiting, depth.leased, depth.parked) == (0, 0, 0, 0)


async def test_two_workers_share_the_jobs_and_keep_the_order_of_each_key(jobs: Jobs) -> None:
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}

    @jobs.job
    async def note(key: str, number: int) -> None:
        seen[key].append(number)

    messages = [note.options(key=key).message(key, number) for number in range(10) for key in seen]
    await jobs.publish(messages)
    with anyio.fail_after(PATIENCE_S):
        async with Worker(jobs), Worker(jobs):
            while sum(map(len, seen.values())) < 30:  # noqa: ASYNC110 - the jobs have no event
                await anyio.sleep(0.01)
    assert seen == {key: list(range(10)) for key in seen}


async def test_a_job_of_a_worker_that_died_is_run_by_another(backend: Any, jobs: Jobs) -> None:
    @jobs.job(keep_result_s=600)
    async def attempts() -> int:
        return current_job().attempt

    handle = await attempts.enqueue()
    assert len((await jobs.queue.claim(1, 8.0)).messages) == 1  # by a worker that says nothing more
    backend.shift(9.0)
    async with Worker(jobs):
        assert await handle.result(PATIENCE_S) == 2


async def test_a_dead_letter_is_kept_and_redriven(jobs: Jobs) -> None:
    fails = [True]

    @jobs.job(attempts_max=1, keep_result_s=600)
    async def fragile() -> str:
        if fails:
            fails.clear()
            raise ArithmeticError("once")
        return "done"

    async with Worker(jobs):
        handle = await fragile.options(id="f-1").enqueue()
        with anyio.fail_after(PATIENCE_S):
            while not (letters := await jobs.queue.parked(10)):  # noqa: ASYNC110 - a queue has no event
                await anyio.sleep(0.01)
        assert letters[0].reason == "attempt 1 of 1: ArithmeticError: once"
        assert await jobs.queue.redrive(["f-1"]) == [True]
        with anyio.fail_after(PATIENCE_S):
            while (await handle.record()).status != "done":  # noqa: ASYNC110 - a failure is known until then
                await anyio.sleep(0.01)
        assert await handle.result(PATIENCE_S) == "done"


async def test_a_chain_and_a_group_end_on_every_store(jobs: Jobs) -> None:
    ended: list[str] = []

    @jobs.job(keep_result_s=600)
    async def step(name: str) -> str:
        ended.append(name)
        return name

    async with Worker(jobs):
        last = step.options(id="c").message("c")
        await jobs.publish([chain(step.message("a"), step.message("b"), last)])
        assert await jobs.handle("c").result(PATIENCE_S) == "c"
        handle = await jobs.group([step.message("x"), step.message("y")], then=step.message("all"))
        assert await handle.result(PATIENCE_S) == "all"
    assert ended[:3] == ["a", "b", "c"]
    assert (sorted(ended[3:5]), ended[5:]) == (["x", "y"], ["all"])


async def test_a_waiting_job_is_cancelled_and_a_paused_queue_rests(jobs: Jobs) -> None:
    @jobs.job(keep_result_s=600)
    async def never() -> None:
        raise AssertionError("it was cancelled")

    handle = await never.options(delay_s=3600).enqueue()
    assert await handle.cancel()
    assert await handle.status() == "cancelled"
    await jobs.pause()
    assert await jobs.is_paused()
    await jobs.resume()
    assert not await jobs.is_paused()


async def test_a_worker_says_that_it_is_there_until_it_ends(jobs: Jobs) -> None:
    async with Worker(jobs, concurrency=3):
        with anyio.fail_after(PATIENCE_S):
            while not (found := await jobs.workers.read("all")):  # noqa: ASYNC110 - a cell has no event
                await anyio.sleep(0.01)
        [only] = found.values()
        assert (only.pid, only.running, only.places, list(only.tasks)) == (os.getpid(), 0, 3, [])
    assert await jobs.workers.read("all") == {}
