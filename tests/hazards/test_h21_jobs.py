"""Hazard 21: a job that is lost, that runs twice while its worker lives, or that an idle worker does not hear of.

peers.md, 21: taskiq's list loses jobs, procrastinate leaves some stuck, taskiq, pgqueuer and saq ran one twice while it
was alive, and the workers of several died of redis-py's socket timeout when they had nothing to do.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sdpatterns.messaging.jobs import Jobs, Worker, current_job
from tests.backends.everywhere import PATIENCE_S, each_backend_with_queues, unique

pytestmark = pytest.mark.anyio
backend = each_backend_with_queues


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def jobs(backend: Any) -> Jobs:
    return Jobs(unique("hazard"), backend=backend)


async def test_no_job_of_a_worker_that_dies_is_lost(backend: Any, jobs: Jobs) -> None:
    @jobs.job(keep_result_s=600)
    async def attempts() -> int:
        return current_job().attempt

    handles = [await attempts.enqueue() for _ in range(10)]
    assert len((await jobs.queue.claim(4, 8.0)).messages) == 4  # by a worker that says nothing more
    backend.shift(9.0)
    async with Worker(jobs):
        begun = [await handle.result(PATIENCE_S) for handle in handles]
    assert sorted(begun) == [1] * 6 + [2] * 4
    assert (await jobs.queue.depth())[:4] == (0, 0, 0, 0)


async def test_a_job_that_is_longer_than_its_lease_runs_once_while_its_worker_lives(jobs: Jobs) -> None:
    begun: list[int] = []

    @jobs.job(keep_result_s=600)
    async def slow() -> int:
        begun.append(current_job().attempt)
        await anyio.sleep(5.0)
        return len(begun)

    async with Worker(jobs, lease_s=2.0), Worker(jobs, lease_s=2.0, poll_s=0.2):
        handle = await slow.enqueue()
        assert await handle.result(PATIENCE_S) == 1
    assert begun == [1]


@pytest.mark.long
async def test_a_worker_that_was_idle_for_longer_than_a_socket_times_out_hears_of_a_job(jobs: Jobs) -> None:
    @jobs.job(keep_result_s=600)
    async def late() -> str:
        return "heard"

    async with Worker(jobs, poll_s=3600.0):
        await anyio.sleep(12.0)
        handle = await late.enqueue()
        assert await handle.result(60.0) == "heard"
