"""`python -m sdpatterns.messaging.jobs`: what it prints, and what it does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.runtime import finish
from sdpatterns.messaging.jobs import Every, Jobs
from sdpatterns.messaging.jobs.__main__ import main
from sdpatterns.messaging.jobs.presence import NotePresence, Presence, Task
from sdpatterns.ports.queue import Park


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """Two dead letters, one job that is due, one that waits."""
    jobs = Jobs("mail", backend=MemoryBackend())

    @jobs.job
    async def send(to: str) -> None: ...

    jobs.schedule("nightly", send.message("all"), Every(3600))
    finish(_filled(jobs, send))
    module = ModuleType("app_of_test_command")
    module.jobs = jobs  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield jobs
    del sys.modules[module.__name__]


async def _filled(jobs: Jobs, send: object) -> None:
    for name in ("one", "two"):
        await send.options(id=name).enqueue("a")  # type: ignore[attr-defined]
    claims = await jobs.queue.claim(2, 10)
    await jobs.queue.settle([Park(claimed, "ConnectionError: reset") for claimed in claims.messages])
    await send.options(id="three").enqueue("b")  # type: ignore[attr-defined]
    await send.options(id="four", delay_s=60).enqueue("c")  # type: ignore[attr-defined]


def told(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """What the command prints, its words apart from each other by one space."""
    assert main(["app_of_test_command:jobs", *words]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_status_counts_what_there_is(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "status")
    assert lines[0] == "mail"
    assert lines[1].startswith("due 1 the oldest for ")
    assert lines[2:5] == ["waiting 1", "running 0", "dead 2 python -m sdpatterns.messaging.jobs ... dead shows them"]
    assert lines[-2:] == ["schedules", "nightly Every(period_s=3600)"]


def test_dead_letters_are_shown_put_back_and_forgotten(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = told(capsys, "dead")
    assert head == "id job attempts since reason"
    assert [row.split()[:3] for row in rows] == [["one", "send", "1"], ["two", "send", "1"]]
    assert rows[0].endswith("ConnectionError: reset")
    assert told(capsys, "redrive", "one", "nine") == ["put back: 1 of 2"]
    assert told(capsys, "discard", "--all") == ["forgotten: 1 of 1"]
    assert told(capsys, "dead") == ["no dead letters"]
    assert finish(jobs.queue.depth()).due == 2


def test_workers_are_shown_with_what_they_run(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "workers") == ["no workers"]

    async def note(worker: str, host: str, *tasks: Task) -> None:
        found = Presence(host, 17, 7_200_000_000, 0, len(tasks), 50, tasks)
        await jobs.workers.transact("all", NotePresence(worker, found))

    finish(note("a", "web-1", Task("send", "one", 2, 60_000_000), Task("send", "two", 1, 0)))
    finish(note("b", "web-2"))
    assert told(capsys, "workers") == [
        "host process running places since seen before",
        "web-1 17 2 50 2 h 0 s",
        "web-2 17 0 50 2 h 0 s",
        "",
        "host process job id attempt since",
        "web-1 17 send one 2 60 s",
        "web-1 17 send two 1 0 s",
    ]


def test_a_queue_is_paused_and_resumed(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "pause") == ["mail is paused"]
    assert told(capsys, "status")[0] == "mail (paused)"
    assert told(capsys, "resume") == ["mail goes on"]
    assert told(capsys, "status")[0] == "mail"


def test_a_waiting_job_is_cancelled(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "cancel", "four") == ["four: cancelled"]
    assert told(capsys, "cancel", "four") == ["four: has ended already"]


@pytest.mark.parametrize("name", ["nowhere:jobs", "app_of_test_command", "sys:path", "sys:nothing"])
def test_what_is_no_jobs_is_said_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "status"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
