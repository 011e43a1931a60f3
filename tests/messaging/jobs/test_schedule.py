"""Jobs that come again: each time once, none lost while no worker ran, and over the change of clocks."""

from __future__ import annotations

import datetime as dt

import anyio
import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.messaging.jobs import Every, Jobs, Worker, current_job
from sdpatterns.messaging.jobs.cronsim import Cron
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop

HOUR_US = 3_600_000_000


class Schedules:
    """Jobs on a memory backend whose time runs with the loop's."""

    def __init__(self) -> None:
        begun_s = SYSTEM.monotonic()
        clock = Clock(SYSTEM.monotonic, lambda: round((SYSTEM.monotonic() - begun_s) * 1_000_000) + 1000 * HOUR_US)
        self.backend = MemoryBackend(clock=clock)
        self.jobs = Jobs("mail", backend=self.backend)
        self.ran: list[float] = []

        @self.jobs.job(attempts_max=2, base_s=1, max_s=1)
        async def tick() -> None:
            scheduled = current_job().scheduled
            assert scheduled is not None
            self.ran.append((scheduled.at_us - 1000 * HOUR_US) / HOUR_US)

        self.tick = tick


@pytest.mark.anyio
async def test_each_time_is_run_once_by_all_workers_together() -> None:
    it = Schedules()
    it.jobs.schedule("tick", it.tick.message(), Every(3600))
    async with Worker(it.jobs), Worker(it.jobs), Worker(it.jobs):
        await anyio.sleep(5.5 * 3600)
    assert it.ran == [1, 2, 3, 4, 5]


@pytest.mark.anyio
@pytest.mark.parametrize(("missed", "ran"), [("once", [1, 2, 7]), ("each", [1, 2, 3, 4, 5, 6, 7])])
async def test_times_that_passed_without_a_worker_are_not_lost(missed: str, ran: list[float]) -> None:
    it = Schedules()
    it.jobs.schedule("tick", it.tick.message(), Every(3600), missed=missed)  # type: ignore[arg-type] # a parameter
    async with Worker(it.jobs):
        await anyio.sleep(1.5 * 3600)
    await anyio.sleep(5 * 3600)
    async with Worker(it.jobs):
        await anyio.sleep(3600)
    assert it.ran == ran


@pytest.mark.anyio
async def test_a_time_that_fails_is_tried_again_and_then_given_up_for_the_next() -> None:
    it, attempts = Schedules(), list[tuple[float, int]]()

    @it.jobs.job(attempts_max=2, backoff="constant", base_s=1, max_s=1)
    async def fails() -> None:
        run = current_job()
        assert run.scheduled is not None
        attempts.append(((run.scheduled.at_us - 1000 * HOUR_US) / HOUR_US, run.attempt))
        raise ConnectionError("reset")

    it.jobs.schedule("fails", fails.message(), Every(3600))
    async with Worker(it.jobs):
        await anyio.sleep(2.5 * 3600)
    assert attempts == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert await it.jobs.queue.parked(10) == []


@pytest.mark.anyio
async def test_a_release_with_other_times_takes_them_at_its_start() -> None:
    it = Schedules()
    it.jobs.schedule("tick", it.tick.message(), Every(24 * 3600))
    async with Worker(it.jobs):
        await anyio.sleep(60)
    it.jobs.schedules.clear()
    it.jobs.schedule("tick", it.tick.message(), Every(2 * 3600))
    async with Worker(it.jobs):
        await anyio.sleep(4.5 * 3600)
    assert it.ran == [2, 4]


@pytest.mark.anyio
async def test_a_worker_that_does_not_know_the_schedule_leaves_it_to_one_that_does() -> None:
    it = Schedules()
    old = Jobs("mail", backend=it.backend)
    it.jobs.schedule("tick", it.tick.message(), Every(3600))
    async with Worker(it.jobs):
        await anyio.sleep(60)
    async with Worker(old):
        await anyio.sleep(1.1 * 3600)
    async with Worker(it.jobs):
        await anyio.sleep(0.1 * 3600)
    assert it.ran == [1]


def us(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("expression", "after", "times"),
    [
        # Clocks go from 2:00 to 3:00 on 2026-03-29, and from 3:00 back to 2:00 on 2026-10-25.
        ("30 2 * * *", "2026-03-28T12:00:00+01:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        ("30 2 * * *", "2026-10-24T12:00:00+02:00", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        (
            "0 * * * *",
            "2026-10-25T01:30:00+02:00",
            ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"],
        ),
        ("0 9 * * MON-FRI", "2026-11-27T10:00:00+01:00", ["2026-11-30T09:00:00+01:00"]),
    ],
)
def test_cron_counts_by_the_clock_of_its_zone(expression: str, after: str, times: list[str]) -> None:
    cron, at_us = Cron(expression, zone="Europe/Berlin"), us(after)
    for expected in times:
        at_us = cron.next_us(at_us)
        assert at_us == us(expected)


@pytest.mark.parametrize(
    ("expression", "zone"), [("61 * * * *", "UTC"), ("0 3 * * *", "Mars/Base"), ("0 0 31 2 *", "UTC")]
)
def test_a_cron_without_times_is_refused(expression: str, zone: str) -> None:
    with pytest.raises(ValueError, match="no times for"):
        Cron(expression, zone=zone)
