"""Jobs on virtual time: what runs, when it runs again, and what becomes of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import itertools
import os
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import anyio
import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.tracing import trace_with
from sdpatterns.errors import (
    BackendFull,
    BackendUnavailable,
    DeadlineExceeded,
    JobCancelled,
    JobFailed,
    OutcomeUnknown,
    RateLimited,
)
from sdpatterns.messaging.jobs import (
    JobAbandoned,
    JobCompleted,
    JobLost,
    JobRequeued,
    Jobs,
    JobStatus,
    Worker,
    current_job,
)
from sdpatterns.messaging.jobs.presence import NotePresence, Presence
from sdpatterns.observability.recording import RecordingTracer, SpanStore
from sdpatterns.ports.queue import Claims, Settlement
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop
pytestmark = pytest.mark.anyio


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def jobs(backend: MemoryBackend) -> Jobs:
    return Jobs("mail", backend=backend)


@pytest.fixture
def heard() -> Iterator[list[Notice]]:
    notices: list[Notice] = []
    with listen(notices.append):
        yield notices


@contextlib.asynccontextmanager
async def working(jobs: Jobs, **settings: float) -> AsyncIterator[Worker]:
    async with Worker(jobs, **settings) as worker:  # type: ignore[arg-type] # numbers
        yield worker


async def until_empty(jobs: Jobs) -> None:
    while (depth := await jobs.queue.depth()).due + depth.waiting + depth.leased:  # noqa: ASYNC110 - from outside
        await anyio.sleep(0.5)


async def test_a_job_runs_with_its_arguments_and_its_result_comes_back(jobs: Jobs) -> None:
    @jobs.job(keep_result_s=60)
    async def join(first: str, *others: str, by: str = " ") -> str:
        return by.join([first, *others])

    async with working(jobs):
        assert await (await join.enqueue("a", "b", "c", by="-")).result(5) == "a-b-c"
        assert await (await join.enqueue("a")).result(5) == "a"
    assert await join("x", "y") == "x y"


async def test_a_failed_attempt_is_followed_by_another_after_a_pause(jobs: Jobs, heard: list[Notice]) -> None:
    began_s, attempts = SYSTEM.monotonic(), list[float]()

    @jobs.job(attempts_max=3, backoff="exponential", base_s=10, max_s=100, keep_result_s=60)
    async def third_time() -> str:
        attempts.append(round(SYSTEM.monotonic() - began_s))
        if current_job().attempt < 3:
            raise ConnectionError("reset")
        return "done"

    async with working(jobs):
        assert await (await third_time.enqueue()).result(100) == "done"
    assert attempts == [0, 10, 30]
    again = [notice for notice in heard if isinstance(notice, JobRequeued)]
    assert [(notice.attempt, notice.delay_s, notice.error) for notice in again] == [
        (1, 10.0, "ConnectionError"), (2, 20.0, "ConnectionError"),
    ]  # fmt: skip
    assert [notice.attempt for notice in heard if isinstance(notice, JobCompleted)] == [3]


async def test_a_job_that_fails_each_time_is_parked_with_its_reason(jobs: Jobs, heard: list[Notice]) -> None:
    @jobs.job(attempts_max=2, base_s=0, max_s=0, keep_result_s=60)
    async def broken(number: int) -> None:
        raise ArithmeticError(f"no {number}")

    async with working(jobs):
        handle = await broken.options(key="k").enqueue(7)
        with pytest.raises(JobFailed, match="attempt 2 of 2: ArithmeticError: no 7"):
            await handle.result(60)
        await until_empty(jobs)
    [parked] = await jobs.queue.parked(10)
    assert (parked.id, parked.attempt, parked.reason) == (handle.id, 2, "attempt 2 of 2: ArithmeticError: no 7")
    assert [notice.reason for notice in heard if isinstance(notice, JobAbandoned)] == [parked.reason]


async def test_an_exception_that_no_attempt_would_mend_parks_at_once(jobs: Jobs) -> None:
    runs: list[int] = []

    @jobs.job(give_up_on=(LookupError,))
    async def unknown() -> None:
        runs.append(1)
        raise KeyError("customer")

    async with working(jobs):
        await unknown.enqueue()
        await until_empty(jobs)
    assert (len(runs), [it.reason for it in await jobs.queue.parked(10)]) == (1, ["KeyError: 'customer'"])


async def test_a_refusal_is_no_attempt_and_says_when_to_come_back(jobs: Jobs) -> None:
    began_s, calls = SYSTEM.monotonic(), list[float]()

    @jobs.job(attempts_max=1, keep_result_s=60)
    async def limited() -> int:
        calls.append(round(SYSTEM.monotonic() - began_s))
        if len(calls) < 4:
            raise RateLimited("mail", retry_after_s=20.0)
        return current_job().attempt

    async with working(jobs):
        assert await (await limited.enqueue()).result(100) == 1
    assert calls == [0, 20, 40, 60]


async def test_a_delayed_job_runs_when_it_is_due(jobs: Jobs) -> None:
    began_s, ran_at = SYSTEM.monotonic(), list[float]()

    @jobs.job
    async def note() -> None:
        ran_at.append(round(SYSTEM.monotonic() - began_s))

    async with working(jobs, poll_s=1000):
        await note.options(delay_s=700).enqueue()
        await note.options(delay_s=30).enqueue()
        await note.enqueue()
        await until_empty(jobs)
    assert ran_at == [0, 30, 700]


async def test_jobs_of_one_key_run_one_at_a_time_and_in_order(jobs: Jobs) -> None:
    order: list[str] = []

    @jobs.job
    async def step(number: int) -> None:
        order.append(f"+{number}")
        await anyio.sleep(1)
        order.append(f"-{number}")

    for number in range(3):
        await step.options(key="cart").enqueue(number)
    async with working(jobs):
        await until_empty(jobs)
    assert order == ["+0", "-0", "+1", "-1", "+2", "-2"]


async def test_no_more_jobs_run_at_once_than_the_worker_has_places(jobs: Jobs) -> None:
    running = most = 0

    @jobs.job
    async def wait() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1

    await jobs.publish([wait.message() for _ in range(20)])
    async with working(jobs, concurrency=4) as worker:
        await until_empty(jobs)
    assert (most, worker.running) == (4, 0)


async def test_a_worker_fetches_half_of_its_places_at_a_time_and_fills_them_all(jobs: Jobs) -> None:
    asked: list[int] = []
    claim = jobs.queue.claim

    async def noted(n: int, lease_s: float, /) -> Claims:
        asked.append(n)
        return await claim(n, lease_s)

    jobs.queue.claim = noted  # type: ignore[method-assign]

    @jobs.job
    async def wait() -> None:
        await anyio.sleep(1)

    await jobs.publish([wait.message() for _ in range(130)])
    async with working(jobs, concurrency=100) as worker:
        await anyio.sleep(0.5)
        assert worker.running == 100
        await until_empty(jobs)
    assert asked[:2] == [50, 50]
    assert max(asked) == 50


async def test_a_job_that_has_ended_is_freed_at_once(jobs: Jobs) -> None:
    runs: list[weakref.ref[Any]] = []

    @jobs.job
    async def noop() -> None:
        runs.append(weakref.ref(current_job()))

    await jobs.publish([noop.message() for _ in range(5)])
    gc.collect()
    gc.disable()
    try:
        async with working(jobs):
            await until_empty(jobs)
            await anyio.sleep(1.0)
            assert [run() for run in runs] == [None] * 5
    finally:
        gc.enable()


async def test_a_long_job_keeps_its_lease_and_runs_once(jobs: Jobs) -> None:
    runs: list[int] = []

    @jobs.job(keep_result_s=600)
    async def long() -> str:
        runs.append(current_job().attempt)
        await anyio.sleep(20 * 8.0)
        return "done"

    async with working(jobs), Worker(jobs):
        assert await (await long.enqueue()).result(500) == "done"
    assert runs == [1]


async def test_a_job_of_a_worker_that_died_is_run_by_another_when_the_lease_ends(jobs: Jobs) -> None:
    ran: list[tuple[int, float]] = []

    @jobs.job
    async def note() -> None:
        ran.append((current_job().attempt, round(SYSTEM.monotonic() - began_s)))

    await note.enqueue()
    began_s = SYSTEM.monotonic()
    await jobs.queue.claim(1, 8.0)  # by a worker that says nothing more
    async with working(jobs):
        await until_empty(jobs)
    assert ran == [(2, 8)]


async def test_a_worker_that_lost_its_lease_is_cancelled_and_settles_nothing(
    jobs: Jobs, heard: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[int] = []

    @jobs.job
    async def note() -> None:
        try:
            await anyio.sleep(30)
        except BaseException:
            cancelled.append(current_job().attempt)
            raise

    async def never(*_: object) -> list[bool]:
        raise BackendUnavailable("the store is away")

    await note.enqueue()
    monkeypatch.setattr(jobs.queue, "extend", never)
    async with working(jobs, drain_s=0):
        await anyio.sleep(7.9)
        assert cancelled == []
        await anyio.sleep(0.2)
        assert cancelled == [1]
    assert [notice.attempt for notice in heard if isinstance(notice, JobLost)] == [1]
    assert (await jobs.queue.depth()).parked == 0


async def test_the_end_of_the_block_lets_jobs_finish_and_claims_no_more(jobs: Jobs) -> None:
    done: list[int] = []

    @jobs.job
    async def slow(number: int) -> None:
        await anyio.sleep(10)
        done.append(number)

    await jobs.publish([slow.message(number) for number in range(3)])
    async with working(jobs, concurrency=2):
        await anyio.sleep(1)
    assert sorted(done) == [0, 1]
    assert (await jobs.queue.depth()).due == 1


async def test_a_job_that_does_not_end_in_the_drain_goes_back_without_counting(jobs: Jobs) -> None:
    attempts: list[int] = []

    @jobs.job
    async def endless() -> None:
        attempts.append(current_job().attempt)
        if len(attempts) == 1:
            await anyio.sleep(1000)

    await endless.enqueue()
    async with working(jobs, drain_s=5):
        await anyio.sleep(1)
    depth = await jobs.queue.depth()
    assert (depth.due, depth.leased) == (1, 0)
    async with working(jobs):
        await until_empty(jobs)
    assert attempts == [1, 1]


async def test_a_waiting_job_is_cancelled_at_once(jobs: Jobs) -> None:
    @jobs.job(keep_result_s=60)
    async def never() -> None:
        raise AssertionError("it was cancelled")

    handle = await never.options(delay_s=60).enqueue()
    assert await handle.cancel()
    with pytest.raises(JobCancelled):
        await handle.result(1)
    assert (await jobs.queue.depth()).waiting == 0


async def test_a_running_job_is_cancelled_within_a_third_of_the_lease(jobs: Jobs) -> None:
    stopped_at: list[float] = []

    @jobs.job(keep_result_s=60)
    async def long() -> None:
        began_s = SYSTEM.monotonic()
        try:
            await anyio.sleep(1000)
        finally:
            stopped_at.append(SYSTEM.monotonic() - began_s)

    async with working(jobs, lease_s=9):
        handle = await long.enqueue()
        await anyio.sleep(1)
        assert await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(60)
        assert await handle.status() is JobStatus.CANCELLED
        assert not await handle.cancel()
        await until_empty(jobs)
    assert 1 <= stopped_at[0] <= 3.1


async def test_a_result_that_does_not_come_in_time_is_a_deadline(jobs: Jobs) -> None:
    @jobs.job(keep_result_s=60)
    async def slow() -> str:
        await anyio.sleep(30)
        return "late"

    async with working(jobs):
        handle = await slow.enqueue()
        with pytest.raises(DeadlineExceeded):
            await handle.result(10)
        assert await handle.result(30) == "late"


async def test_progress_is_seen_while_the_job_runs(jobs: Jobs) -> None:
    @jobs.job(keep_result_s=60)
    async def half() -> None:
        await current_job().progress(0.5, "half")
        await anyio.sleep(10)

    async with working(jobs):
        handle = await half.enqueue()
        await anyio.sleep(1)
        record = await handle.record()
        assert (record.status, record.done, record.note) == (JobStatus.RUNNING, 0.5, "half")
        await handle.result(60)


async def test_a_job_whose_deadline_has_passed_is_parked_and_one_in_time_has_it(jobs: Jobs) -> None:
    left: list[float | None] = []

    @jobs.job
    async def note() -> None:
        left.append(deadline_left_s())

    await note.options(deadline_s=10, delay_s=20).enqueue()
    await note.options(deadline_s=30, delay_s=10).enqueue()
    async with working(jobs):
        await until_empty(jobs)
    assert [round(seconds) for seconds in left if seconds is not None] == [20]
    assert [it.reason for it in await jobs.queue.parked(10)] == ["its deadline passed while it waited"]


async def test_an_id_is_added_once_and_replaced_where_that_is_asked_for(jobs: Jobs) -> None:
    seen: list[int] = []

    @jobs.job
    async def note(number: int) -> None:
        seen.append(number)

    for number in range(3):
        await note.options(id="once", delay_s=5).enqueue(number)
        await note.options(id="last", delay_s=5, replace=True).enqueue(10 + number)
    async with working(jobs):
        await until_empty(jobs)
    assert sorted(seen) == [0, 12]


async def test_a_worker_goes_on_when_its_store_was_away(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, calls = jobs.queue.claim, list[float]()

    async def sometimes(n: int, lease_s: float, /) -> Claims:
        calls.append(SYSTEM.monotonic())
        if len(calls) <= 5:
            raise BackendUnavailable("the store is away")
        return await claim(n, lease_s)

    @jobs.job(keep_result_s=60)
    async def fine() -> str:
        return "fine"

    monkeypatch.setattr(jobs.queue, "claim", sometimes)
    handle = await fine.enqueue()
    async with working(jobs):
        assert await handle.result(60) == "fine"
    pauses_s = [round(later - earlier, 2) for earlier, later in itertools.pairwise(calls[:6])]
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[0] >= 0.05


async def test_a_settlement_whose_reply_was_lost_is_repeated_and_is_no_lost_lease(
    jobs: Jobs, heard: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, calls, runs = jobs.queue.settle, list[object](), list[int]()

    async def lossy(settlements: Sequence[Settlement], /) -> Sequence[bool]:
        answer = await settle(settlements)
        calls.append(answer)
        if len(calls) == 1:
            raise OutcomeUnknown("the reply was lost")
        return answer

    @jobs.job
    async def note() -> None:
        runs.append(1)

    monkeypatch.setattr(jobs.queue, "settle", lossy)
    await note.enqueue()
    async with working(jobs):
        await anyio.sleep(60)
    assert (len(runs), len(calls)) == (1, 2)
    assert [notice for notice in heard if isinstance(notice, JobLost)] == []


async def test_the_pool_grows_while_jobs_wait_and_shrinks_when_none_do(jobs: Jobs) -> None:
    running, seen = 0, list[int]()

    @jobs.job
    async def wait() -> None:
        nonlocal running
        running += 1
        seen.append(running)
        await anyio.sleep(30)
        running -= 1

    await jobs.publish([wait.message() for _ in range(100)])
    async with working(jobs, concurrency=20, concurrency_min=2) as worker:
        assert worker.places == 2
        await anyio.sleep(0.5)
        assert max(seen) == 2
        await anyio.sleep(10)
        assert max(seen) == worker.places == 20
        await until_empty(jobs)
        await anyio.sleep(100)
        assert worker.places == 2
    with pytest.raises(ValueError, match="concurrency_min"):
        Worker(jobs, concurrency=2, concurrency_min=3)


async def test_a_worker_says_what_it_runs_and_one_that_died_is_forgotten(jobs: Jobs) -> None:
    @jobs.job
    async def wait() -> None:
        await anyio.sleep(100)

    await jobs.workers.transact("all", NotePresence("died", Presence("web-9", 1, 0, 0, 0, 50, [])))
    began_us = SYSTEM.now_us()
    async with working(jobs, drain_s=0):
        await anyio.sleep(5)
        await wait.options(id="one").enqueue()
        await anyio.sleep(30)
        [found] = (await jobs.workers.read("all") or {}).values()
    assert (found.pid, found.running, found.places) == (os.getpid(), 1, 50)
    [task] = found.tasks
    assert (task.job, task.id, task.attempt) == ("wait", "one", 1)
    instants = (found.began_us, task.began_us, found.seen_us)
    assert [round((at - began_us) / 1e6) for at in instants] == [0, 5, 30]


@pytest.mark.parametrize("minutes", [20, pytest.param(180, marks=pytest.mark.long)])
async def test_a_job_of_an_instant_runs_then(minutes: int, jobs: Jobs) -> None:
    ran_at: list[int] = []

    @jobs.job
    async def note() -> None:
        ran_at.append(SYSTEM.now_us())

    now = dt.datetime.fromtimestamp(SYSTEM.now_us() / 1e6, dt.UTC)
    then = (now + dt.timedelta(minutes=minutes)).astimezone(dt.timezone(dt.timedelta(hours=-7)))
    await note.options(due_at=then).enqueue()
    await note.options(due_at=now - dt.timedelta(days=1)).enqueue()
    async with working(jobs):
        await until_empty(jobs)
    late_s = [at / 1e6 - then.timestamp() for at in ran_at]
    assert late_s[0] < -50 * minutes
    assert 0 <= late_s[1] < 1
    with pytest.raises(ValueError, match="time zone"):
        note.options(due_at=dt.datetime(2030, 1, 1))  # noqa: DTZ001 - the mistake
    with pytest.raises(ValueError, match="exclude each other"):
        note.options(due_at=then, delay_s=5)


async def test_jobs_that_end_together_are_settled_in_one_call(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    settle, sizes = jobs.queue.settle, list[int]()

    async def counted(settlements: Sequence[Settlement], /) -> Sequence[bool]:
        sizes.append(len(settlements))
        await anyio.sleep(1)
        return await settle(settlements)

    @jobs.job
    async def wait(seconds: float) -> None:
        await anyio.sleep(seconds)

    monkeypatch.setattr(jobs.queue, "settle", counted)
    # Five end together; while they are settled, three more do.
    await jobs.publish([wait.message(seconds) for seconds in (1, 1, 1, 1, 1, 1.2, 1.4, 1.6)])
    async with working(jobs):
        await until_empty(jobs)
    assert sizes == [5, 3]


async def test_a_settlement_that_the_queue_refuses_leaves_the_others_settled(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = jobs.queue.settle

    async def strict(settlements: Sequence[Settlement], /) -> Sequence[bool]:
        if any(settlement.claimed.id == "odd" for settlement in settlements):
            raise ValueError("no store could keep that")
        return await settle(settlements)

    @jobs.job
    async def note() -> None: ...

    monkeypatch.setattr(jobs.queue, "settle", strict)
    await jobs.publish([note.options(id=name).message() for name in ("one", "odd", "two")])
    async with working(jobs):
        await anyio.sleep(5)
        depth = await jobs.queue.depth()
        assert (depth.due, depth.leased) == (0, 1)


class Away:
    """A queue whose verbs fail while they are named."""

    def __init__(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        self.verbs: set[str] = set()
        self.error: Exception = BackendUnavailable("the store is away")
        for verb in ("claim", "extend", "settle"):
            monkeypatch.setattr(jobs.queue, verb, self._around(verb, getattr(jobs.queue, verb)))

    def _around(self, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*words: Any) -> Any:
            if verb in self.verbs:
                raise self.error
            return await call(*words)

        return called


async def test_what_ended_while_the_store_was_away_is_settled_with_the_next_call(
    jobs: Jobs, heard: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A settlement that is repeated held up those that came later, until its pause and its call were over."""
    settle, sizes = jobs.queue.settle, list[int]()

    async def away_for_three_calls(settlements: Sequence[Settlement], /) -> Sequence[bool]:
        sizes.append(len(settlements))
        if len(sizes) <= 3:
            raise BackendUnavailable("the store is away")
        return await settle(settlements)

    @jobs.job
    async def wait(seconds: float) -> None:
        await anyio.sleep(seconds)

    monkeypatch.setattr(jobs.queue, "settle", away_for_three_calls)
    await jobs.publish([wait.message(seconds) for seconds in (1.0, 1.1, 1.2)])
    async with working(jobs):
        await until_empty(jobs)
    assert sizes == [1, 1, 2, 3]


@pytest.mark.parametrize("error", [BackendUnavailable("away"), BackendFull("full"), OutcomeUnknown("lost")])
async def test_a_job_that_is_done_but_not_settled_keeps_its_lease(
    error: Exception, jobs: Jobs, heard: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that another worker ran it a second time, as soon as the lease of before was over."""
    runs, away = list[float](), Away(jobs, monkeypatch)
    away.error = error

    @jobs.job
    async def note(seconds: float) -> None:
        runs.append(seconds)
        await anyio.sleep(seconds)

    away.verbs = {"settle"}
    # The second and the third end while the first is repeated, the third when most of its lease is over.
    await jobs.publish([note.message(seconds) for seconds in (1.0, 6.0, 2.5)])
    async with working(jobs, lease_s=8), Worker(jobs, lease_s=8, concurrency=3):
        await anyio.sleep(60)
        away.verbs = set()
        await until_empty(jobs)
    assert sorted(runs) == [1.0, 2.5, 6.0]
    assert [notice for notice in heard if isinstance(notice, JobLost)] == []


async def test_a_worker_that_cannot_settle_begins_no_more_work(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, away = list[int](), Away(jobs, monkeypatch)

    @jobs.job
    async def note(number: int) -> None:
        runs.append(number)

    away.verbs = {"settle"}
    async with working(jobs):
        await note.enqueue(1)
        await anyio.sleep(30)
        await note.enqueue(2)
        await anyio.sleep(30)
        assert runs == [1]
        away.verbs = set()
        await until_empty(jobs)
    assert runs == [1, 2]


async def test_a_job_that_was_done_before_a_long_outage_is_settled_after_it_if_no_other_took_it(
    jobs: Jobs, heard: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away(jobs, monkeypatch)

    @jobs.job
    async def note() -> None: ...

    await note.enqueue()
    async with working(jobs):
        await anyio.sleep(0.01)
        away.verbs = {"claim", "extend", "settle"}
        await anyio.sleep(300)
        away.verbs = set()
        await until_empty(jobs)
    assert [type(notice) for notice in heard if isinstance(notice, (JobLost, JobCompleted))] == [JobCompleted]


async def test_a_job_that_another_worker_took_during_an_outage_is_lost(
    jobs: Jobs, heard: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, away = jobs.queue.claim, Away(jobs, monkeypatch)

    @jobs.job
    async def note() -> None: ...

    away.verbs = {"extend", "settle"}
    await note.enqueue()
    async with working(jobs):
        await anyio.sleep(100)
        assert len((await claim(1, 600.0)).messages) == 1
        away.verbs = set()
        await anyio.sleep(10)
    assert [notice.attempt for notice in heard if isinstance(notice, JobLost)] == [1]


async def test_a_worker_that_stops_gives_up_what_it_cannot_settle(
    jobs: Jobs, heard: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away(jobs, monkeypatch)

    @jobs.job
    async def note() -> None: ...

    away.verbs = {"settle"}
    await note.enqueue()
    async with working(jobs, drain_s=600):
        await anyio.sleep(50)
    assert [notice.attempt for notice in heard if isinstance(notice, JobLost)] == [1]


async def test_the_span_of_a_job_names_the_service_of_its_worker(jobs: Jobs) -> None:
    @jobs.job(keep_result_s=60)
    async def send() -> None:
        pass

    store = SpanStore()
    with trace_with(RecordingTracer(store)):
        async with Worker(jobs, service="fulfilment"):
            await (await send.enqueue()).result(timeout_s=5)
    found = {(span.name, span.service) for trace in store.recent(50) for span in store.spans(trace.trace_id)}
    assert ("job send", "fulfilment") in found
