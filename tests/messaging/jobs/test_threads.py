"""Plain functions as jobs, and workers without an event loop: on real threads."""

from __future__ import annotations

import threading

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.runtime import finish
from sdpatterns.messaging.jobs import Jobs, Worker, current_job

PATIENCE_S = 60.0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_plain_function_runs_in_a_thread_and_knows_its_job() -> None:
    jobs = Jobs("mail", backend=MemoryBackend())

    @jobs.job(keep_result_s=60)
    def double(number: int) -> tuple[int, int, bool]:
        return 2 * number, current_job().attempt, threading.current_thread() is threading.main_thread()

    async with Worker(jobs):
        assert await (await double.enqueue(21)).result(PATIENCE_S) == (42, 1, False)


def test_a_worker_without_a_loop_runs_its_jobs_in_threads() -> None:
    jobs = Jobs("mail", backend=MemoryBackend())
    at_once = threading.Barrier(3)

    @jobs.job(keep_result_s=60)
    def meet(number: int) -> int:
        at_once.wait(PATIENCE_S)
        return number

    async def three() -> list[int]:
        async with Worker(jobs, concurrency=3):
            handles = [await meet.enqueue(number) for number in range(3)]
            return [await handle.result(PATIENCE_S) for handle in handles]

    assert finish(three()) == [0, 1, 2]


def test_what_is_due_is_run_without_a_loop() -> None:
    jobs, ran = Jobs("mail", backend=MemoryBackend()), list[int]()

    @jobs.job
    def note(number: int) -> None:
        ran.append(number)

    async def three() -> int:
        await jobs.publish([note.message(number) for number in range(3)])
        return await Worker(jobs, concurrency=2).run_due()

    assert (finish(three()), sorted(ran)) == (3, [0, 1, 2])
