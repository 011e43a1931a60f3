"""Look at a queue of jobs, and put dead letters back: `python -m sdpatterns.messaging.jobs app.jobs:jobs status`.

`app.jobs:jobs` names your `Jobs` as servers name an application: a module that can be imported, and its attribute.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from sdpatterns.core.command import columns, named
from sdpatterns.core.runtime import BLOCKING, finish
from sdpatterns.errors import BackendError, CodecError
from sdpatterns.messaging.jobs.jobs import Jobs
from sdpatterns.messaging.jobs.payload import decoded
from sdpatterns.ports.queue import Parked

_PAGE = 500

Lines: TypeAlias = list[str]
"""What a command has to say."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; 0 where it worked, 1 where the store is away, 2 for a wrong command."""
    given = _parser().parse_args(words)
    try:
        jobs = named(given.jobs, Jobs, "app.jobs:jobs")
    except (ImportError, AttributeError, TypeError, ValueError) as cause:
        print(f"{given.jobs}: {cause}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    command: Callable[[Jobs, Any], Awaitable[Lines]] = given.command
    try:
        work: Any = command(jobs, given)
        lines = finish(work) if jobs.runtime is BLOCKING else asyncio.run(work)
    except BackendError as cause:
        print(cause, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    print("\n".join(lines))  # noqa: T201 - a command's answer
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sdpatterns.messaging.jobs", description=__doc__)
    parser.add_argument("jobs", help="the Jobs, as module:attribute")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Callable[[Jobs, Any], Awaitable[Lines]], told: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=told, description=told)
        found.set_defaults(command=command)
        return found

    add("status", _status, "how many jobs wait, run and failed")
    add("workers", _workers, "who works, on what, and since when")
    add("dead", _dead, "the dead letters, oldest first").add_argument("--limit", type=int, default=50)
    for name, command, told in (
        ("redrive", _redrive, "put dead letters back in the queue"),
        ("discard", _discard, "forget dead letters"),
    ):
        found = add(name, command, told)
        found.add_argument("ids", nargs="*", help="their ids")
        found.add_argument("--all", action="store_true", help="all that are there now")
    add("cancel", _cancel, "take jobs out of the queue, or ask their workers to stop them").add_argument(
        "ids", nargs="+"
    )
    add("pause", _pause, "let workers claim nothing more")
    add("resume", _resume, "let workers claim again")
    return parser


_SHOW_DEAD = "python -m sdpatterns.messaging.jobs ... dead shows them"


async def _status(jobs: Jobs, _: Any) -> Lines:
    depth = await jobs.queue.depth()
    paused = " (paused)" if await jobs.is_paused() else ""
    lines = [f"{jobs.name}{paused}"]
    more = " or more" if depth.at_least else ""
    lines += columns([
        ("due", f"{depth.due}{more}", f"the oldest for {_lasting(depth.lag_s)}" if depth.due else ""),
        ("waiting", f"{depth.waiting}{more}", ""),
        ("running", f"{depth.leased}{more}", ""),
        ("dead", f"{depth.parked}{more}", _SHOW_DEAD if depth.parked else ""),
    ])  # fmt: skip
    if jobs.schedules:
        lines += ["", "schedules"]
        lines += columns([(name, repr(schedule.times)) for name, schedule in sorted(jobs.schedules.items())])
    return lines


async def _workers(jobs: Jobs, _: Any) -> Lines:
    found = sorted((await jobs.workers.read("all") or {}).values())
    if not found:
        return ["no workers"]
    now_us = time.time_ns() // 1000

    def since(at_us: int) -> str:
        return _lasting(max(0, now_us - at_us) / 1e6)

    rows = [(it.host, it.pid, it.running, it.places, since(it.began_us), since(it.seen_us)) for it in found]
    lines = columns([("host", "process", "running", "places", "since", "seen before"), *rows])
    tasks = [(it.host, it.pid, task) for it in found for task in it.tasks]
    if tasks:
        shown = [(host, pid, task.job, task.id, task.attempt, since(task.began_us)) for host, pid, task in tasks]
        lines += ["", *columns([("host", "process", "job", "id", "attempt", "since"), *shown])]
    return lines


async def _dead(jobs: Jobs, given: Any) -> Lines:
    letters = await jobs.queue.parked(given.limit)
    if not letters:
        return ["no dead letters"]
    now_us = time.time_ns() // 1000
    rows = [(it.id, _job_of(it), it.attempt, _lasting((now_us - it.parked_us) / 1e6), it.reason[:80]) for it in letters]
    return columns([("id", "job", "attempts", "since", "reason"), *rows])


async def _redrive(jobs: Jobs, given: Any) -> Lines:
    return await _with_letters(jobs, given, jobs.queue.redrive, "put back")


async def _discard(jobs: Jobs, given: Any) -> Lines:
    return await _with_letters(jobs, given, jobs.queue.discard, "forgotten")


async def _with_letters(
    jobs: Jobs, given: Any, verb: Callable[[Sequence[str]], Awaitable[Sequence[bool]]], told: str
) -> Lines:
    ids: list[str] = given.ids
    if given.all:
        position = 0
        while page := await jobs.queue.parked(_PAGE, position):
            ids += [it.id for it in page]
            position = page[-1].position
    done = 0
    for first in range(0, len(ids), _PAGE):
        done += sum(await verb(ids[first : first + _PAGE]))
    return [f"{told}: {done} of {len(ids)}"]


async def _cancel(jobs: Jobs, given: Any) -> Lines:
    told = {True: "cancelled", False: "has ended already"}
    return [f"{job_id}: {told[await jobs.handle(job_id).cancel()]}" for job_id in given.ids]


async def _pause(jobs: Jobs, _: Any) -> Lines:
    await jobs.pause()
    return [f"{jobs.name} is paused"]


async def _resume(jobs: Jobs, _: Any) -> Lines:
    await jobs.resume()
    return [f"{jobs.name} goes on"]


def _job_of(letter: Parked) -> str:
    try:
        return decoded(letter.payload).job
    except CodecError:
        return "?"


def _lasting(seconds: float) -> str:
    """Roughly, for people."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
