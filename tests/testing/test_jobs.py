"""Jobs in the tests of their users: inline, and on a clock that is moved by hand."""

from __future__ import annotations

import datetime as dt

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import SYSTEM
from sdpatterns.messaging.jobs import Every, Jobs, Worker
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.testing.jobs import inline

pytestmark = pytest.mark.anyio


@pytest.fixture
def jobs() -> Jobs:
    return Jobs("mail", backend=MemoryBackend())


async def test_an_inline_job_has_run_when_enqueue_returns_and_so_have_those_that_it_enqueued(jobs: Jobs) -> None:
    ran: list[str] = []

    @jobs.job(keep_result_s=60)
    async def outer(name: str) -> str:
        await inner.enqueue(name)
        ran.append(f"outer {name}")
        return name.upper()

    @jobs.job
    async def inner(name: str) -> None:
        ran.append(f"inner {name}")

    async with inline(jobs):
        handle = await outer.enqueue("a")
        assert sorted(ran) == ["inner a", "outer a"]
        assert await handle.result(0) == "A"
    await outer.enqueue("b")
    assert len(ran) == 2


async def test_inline_jobs_of_two_queues_run_each_other(jobs: Jobs) -> None:
    other, ran = Jobs("other", backend=MemoryBackend()), list[int]()

    @jobs.job
    async def first() -> None:
        await second.enqueue()
        ran.append(len(ran))

    @other.job
    async def second() -> None:
        ran.append(len(ran))

    async with inline(jobs), inline(other):
        await first.enqueue()
    assert ran == [0, 1]


async def test_a_job_that_failed_is_tried_again_when_it_is_due(jobs: Jobs, virtual_clock: VirtualClock) -> None:
    attempts: list[int] = []

    @jobs.job(backoff="constant", base_s=60)
    async def flaky() -> None:
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise ConnectionError("reset")

    async with inline(jobs) as worker:
        await flaky.enqueue()
        assert (len(attempts), await worker.run_due()) == (1, 0)
        virtual_clock.advance(60.0)
        assert (await worker.run_due(), len(attempts)) == (1, 2)


async def test_run_due_works_on_what_is_due_and_on_nothing_else(jobs: Jobs, virtual_clock: VirtualClock) -> None:
    ran: list[str] = []

    @jobs.job
    async def note(name: str) -> None:
        ran.append(name)
        if name == "first":
            await note.enqueue("next")

    jobs.schedule("hourly", note.message("hourly"), Every(3600))
    worker = Worker(jobs, concurrency=2)
    await jobs.publish([note.message("first"), note.message("a"), note.message("b")])
    due_at = dt.datetime.fromtimestamp(SYSTEM.now_us() / 1e6 + 600, dt.UTC)
    await note.options(due_at=due_at).enqueue("later")
    assert await worker.run_due() == 4
    assert (sorted(ran), worker.running) == (["a", "b", "first", "next"], 0)
    virtual_clock.advance(601.0)
    await worker.run_due()
    assert ran[4:] in (["later"], ["hourly", "later"], ["later", "hourly"])
    virtual_clock.advance(3600.0)
    await worker.run_due()
    assert "hourly" in ran[4:]
    async with Worker(jobs) as busy:
        with pytest.raises(RuntimeError, match="runs already"):
            await busy.run_due()
